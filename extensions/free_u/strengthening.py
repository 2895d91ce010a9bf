"""FreeU: a UNet's backbone is strengthened against its skip connections, without training.

(Si et al. 2023, arXiv:2309.11497; the second version is that of the paper's final form.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from extensions.free_u.options import FreeU
from webui.extending.api import BadRequest
from webui.extending.computing import Run

_TINY = 1e-9  # a mean that is the same everywhere is divided by this


@contextmanager
def strengthen(run: Run) -> Iterator[None]:
    """Let the UNet of `run` compute with FreeU in the steps that the options name; `BadRequest` for other networks."""
    options = FreeU.model_validate(run.facts)
    if not hasattr(run.network, "enable_freeu"):
        raise BadRequest(
            "FreeU works with SD1, SD2 and SDXL.",
            hint="Switch it off for this model.",
            field="extensions.free_u.enabled",
        )

    def acts() -> bool:
        return options.start <= run.moment.progress < options.end

    with ExitStack() as hooks:
        if options.version == "1":
            _use_first_version(run.network, options, acts, hooks)
        else:
            for block in run.network.up_blocks:
                _use_second_version(block, run.network.config.block_out_channels[0], options, acts, hooks)
        yield


def _use_first_version(network: nn.Module, options: FreeU, acts: Any, hooks: ExitStack) -> None:
    """Switch diffusers' own FreeU on and off before each call: it acts in the first two blocks on the way up."""

    def switch(unet: nn.Module, given: tuple[Any, ...]) -> None:
        if acts():
            unet.enable_freeu(s1=options.s1, s2=options.s2, b1=options.b1, b2=options.b2)
        else:
            unet.disable_freeu()

    hooks.callback(network.disable_freeu)
    hooks.callback(network.register_forward_pre_hook(switch).remove)


def _use_second_version(block: nn.Module, width: int, options: FreeU, acts: Any, hooks: ExitStack) -> None:
    """Change what each layer of a block on the way up is given, where the backbone is 4 or 2 times the UNet's first
    `width` wide (the authors' rule)."""
    skipped: list[int] = []  # channels of the skip connections that are still to come

    def note_skips(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        remembered = named["res_hidden_states_tuple"] if "res_hidden_states_tuple" in named else given[1]
        skipped[:] = [states.shape[1] for states in remembered]

    def change(layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        together, *rest = given
        wide = together.shape[1] - skipped.pop()
        factors = {4 * width: (options.b1, options.s1), 2 * width: (options.b2, options.s2)}.get(wide)
        if factors is None or not acts():
            return None
        backbone, skip = together[:, :wide], together[:, wide:]
        return torch.cat([emphasise_structure(backbone, factors[0]), damp_coarse(skip, factors[1])], 1), *rest

    hooks.callback(block.register_forward_pre_hook(note_skips, with_kwargs=True).remove)
    for resnet in block.resnets:
        hooks.callback(resnet.register_forward_pre_hook(change).remove)


def emphasise_structure(backbone: Tensor, factor: float) -> Tensor:
    """Return `backbone` [B,C,h,w] with the first half of its channels multiplied by 1 … `factor`: the more, the higher
    their mean over the channels is at a place."""
    mean = backbone.float().mean(1, keepdim=True)
    low, high = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
    structure = (mean - low) / (high - low).clamp(min=_TINY)
    first, second = backbone.tensor_split([backbone.shape[1] // 2], 1)
    return torch.cat([first * (1 + (factor - 1) * structure).to(first.dtype), second], 1)


def damp_coarse(skip: Tensor, factor: float) -> Tensor:
    """Return `skip` [B,C,h,w] with its lowest frequencies multiplied by `factor`."""
    from diffusers.utils.torch_utils import fourier_filter

    return fourier_filter(skip, threshold=1, scale=factor)
