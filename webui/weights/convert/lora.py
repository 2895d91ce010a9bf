"""A LoRA from the difference between two models (Hu et al. 2021, arXiv:2106.09685)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from webui.domain.models import Family
from webui.errors import BadRequest
from webui.weights.convert.original_names import unet_name
from webui.weights.formats.tensors import Weights

_SAME = 1e-6  # a difference this small, relative to the weight, was not learnt
_PREFIXES: Mapping[Family, Mapping[str, str]] = MappingProxyType(
    {
        Family.SD1: {"unet": "lora_unet_", "text_encoder": "lora_te_text_model_"},
        Family.SD2: {"unet": "lora_unet_", "text_encoder": "lora_te_text_model_"},
        Family.SDXL: {
            "unet": "lora_unet_", "text_encoder": "lora_te1_text_model_", "text_encoder_2": "lora_te2_text_model_",
        },
    }
)  # fmt: skip


def extract(
    family: Family, component: str, tuned: Weights, base: Weights, rank: int, *, layers: int | None = None
) -> Weights:
    """Return the LoRA that turns `base` into `tuned`, as far as rank `rank` goes, under kohya's names, in fp16.

    Linear and convolution weights count; biases and norms cannot be told by a LoRA. `layers`: layers a level of the
    UNet, None for other components. Raises `BadRequest` for families without such names.
    """
    prefix = _PREFIXES.get(family, {}).get(component)
    if prefix is None:
        raise BadRequest(f"LoRAs of {family.name} models cannot be extracted here.", field="first")
    found: Weights = {}
    for name, tensor in tuned.items():
        if not name.endswith(".weight") or tensor.dim() not in (2, 4) or name not in base or "embed" in name:
            continue
        if tensor.shape != base[name].shape:
            raise BadRequest(f"{name} is of another shape in the two models.", field="base")
        change = tensor.float() - base[name].float()
        if change.norm() <= _SAME * base[name].float().norm():
            continue
        key = _key(family, component, name.removesuffix(".weight"), layers)
        up, down = factor(change, rank)
        found |= {
            f"{prefix}{key}.lora_up.weight": up.half(),
            f"{prefix}{key}.lora_down.weight": down.half(),
            f"{prefix}{key}.alpha": torch.tensor(float(down.shape[0])).half(),
        }
    return found


def factor(change: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return two factors of `change` [O,I] or [O,I,k,k], the best of their rank: up [O,r] or [O,r,1,1], and down [r,I]
    or [r,I,k,k], with the singular values shared between them."""
    flat = change.flatten(1)
    rank = min(rank, *flat.shape)
    if rank * 4 < min(flat.shape):  # the few largest singular values, without the others
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)  # the method draws where it begins
            left, values, right = torch.svd_lowrank(flat, min(rank + 16, *flat.shape), niter=4)
        right = right.T
    else:
        left, values, right = torch.linalg.svd(flat, full_matrices=False)
    roots = values[:rank].sqrt()
    up, down = left[:, :rank] * roots, roots[:, None] * right[:rank]
    if change.dim() == 4:
        return up[:, :, None, None], down.reshape(rank, *change.shape[1:])
    return up, down


def _key(family: Family, component: str, name: str, layers: int | None) -> str:
    if component == "unet" and family is Family.SDXL:
        assert layers is not None
        name = unet_name(f"{name}.", layers).rstrip(".")
    return name.removeprefix("text_model.").replace(".", "_")
