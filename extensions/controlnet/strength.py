"""How strongly a unit acts: when, on which prompts, at which depth, and where in the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.nn import functional

from extensions.controlnet.facts import UnitFacts
from extensions.controlnet.options import ControlMode
from webui.extending.computing import Moment, Row

_FADING = 0.825  # of each of ControlNet's 13 outputs to the next deeper one (lllyasviel/ControlNet, guess mode)
_FADINGS = 12  # as many lie between the first and the deepest
ADAPTER_SCALES = (0.25, 0.62, 0.825, 1.0)
"""The same for the four outputs of a T2I-Adapter (Mikubill/sd-webui-controlnet)."""

Residuals = Mapping[str, Sequence[Tensor]]
"""What is added to a denoiser's own, by the argument that takes it: the shallow ones first."""


def acts_in_pass(unit: UnitFacts, is_second: bool, has_second: bool) -> bool:
    """Tell whether a unit acts in the first or the second pass; where there is one alone, it does."""
    return not has_second or unit.hires == "both" or (unit.hires == "high") == is_second


def acts_now(unit: UnitFacts, moment: Moment) -> bool:
    """Tell whether the step under way lies between the unit's start and end, as diffusers' pipelines have it."""
    share, following = moment.step / moment.steps, (moment.step + 1) / moment.steps
    return not (share < unit.start or following > unit.end)


def choose_rows(rows: Sequence[Row], mode: ControlMode, pooled: bool = False) -> list[int]:
    """Return the rows of the network's batch that are guided: those of negative prompts are not where the control is
    more important, so that guidance leads away from what it does not show, nor where a network is `pooled`."""
    spares = mode == "control" or pooled
    return [index for index, row in enumerate(rows) if not (spares and row.is_negative)]


def scales(mode: ControlMode, count: int) -> list[float]:
    """Return the factors of `count` residuals, the shallow first: all 1 in balance; otherwise those of ControlNet's
    guess mode, spread over as many as there are."""
    if mode == "balanced" or count == 1:
        return [1.0] * count
    return [_FADING ** (_FADINGS * (1 - index / (count - 1))) for index in range(count)]


def adapter_scales(mode: ControlMode, count: int) -> list[float]:
    """Return the factors of the outputs of a T2I-Adapter."""
    return [1.0] * count if mode == "balanced" else list(ADAPTER_SCALES[-count:])


def weigh(residuals: Residuals, factors: Sequence[float], region: Region | None) -> dict[str, list[Tensor]]:
    """Return residuals times their factors, and times what the region lets through where they stand."""
    rest = iter(factors)
    weighed = {argument: [_times(tensor, next(rest)) for tensor in tensors] for argument, tensors in residuals.items()}
    if region is None:
        return weighed
    return {argument: [tensor * region.of(tensor) for tensor in tensors] for argument, tensors in weighed.items()}


def _times(tensor: Tensor, factor: float) -> Tensor:
    return tensor if factor == 1 else tensor * factor


class Region:
    """Where in the image a unit acts: `mask` [1,1,H,W] of 0 … 1, for latents of `size` (height, width)."""

    def __init__(self, mask: Tensor, size: tuple[int, int]) -> None:
        self._mask = mask
        self._size = size

    def of(self, states: Tensor) -> Tensor:
        """Return the factors for what stands in places: [B,C,h,w], or tokens [B,T,D]."""
        if states.dim() == 4:
            return self._at((states.shape[2], states.shape[3])).to(states.dtype)
        return self._at(find_grid(states.shape[1], self._size)).flatten(2).transpose(1, 2).to(states.dtype)

    def _at(self, grid: tuple[int, int]) -> Tensor:
        return functional.interpolate(self._mask, grid, mode="area")


def find_grid(tokens: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns that so many tokens are, for latents of `size` (height, width)."""
    height, width = size
    while height * width > tokens and (height, width) != (1, 1):
        height, width = -(-height // 2), -(-width // 2)
    if height * width != tokens:
        raise ValueError(f"{tokens} tokens are no picture of {size[1]}×{size[0]} latents")
    return height, width
