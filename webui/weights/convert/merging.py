"""Several models of one family made into one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from webui.domain.model_work import MergeMethod
from webui.errors import BadRequest
from webui.weights.convert.original_names import unet_name
from webui.weights.formats.tensors import Weights

BLOCKS = ("BASE", *(f"IN{n:02}" for n in range(12)), "M00", *(f"OUT{n:02}" for n in range(12)))
"""The blocks of an SD1 UNet, in the order in which block weights are written (SDXL's use the first nine of a side)."""


@dataclass(frozen=True)
class Recipe:
    """How models are merged.

    `weighted_sum`: A·(1 - share) + B·share. `add_difference`: A + (B - C)·share. `ties` (Yadav et al. 2023,
    arXiv:2306.01708), `dare_linear` and `dare_ties` (Yu et al. 2023, arXiv:2311.03099): C + what A and B have learnt
    beyond C, of which a `density` is kept, weighed 1 - share and share. `blocks`: other shares for blocks of the UNet,
    by their names in `BLOCKS`; BASE is all that is no block. `seed` decides what DARE drops.
    """

    method: MergeMethod
    share: float = 0.5
    blocks: Mapping[str, float] | None = None
    density: float = 0.5
    seed: int = 0

    @property
    def needs_base(self) -> bool:
        """Whether a third model takes part: C."""
        return self.method != "weighted_sum"


def parse_blocks(text: str) -> dict[str, float]:
    """Return the shares of blocks written as 25 numbers with commas between them, in the order of `BLOCKS` (26 with
    BASE before them); raise `BadRequest` for anything else."""
    try:
        shares = [float(share) for share in text.split(",")]
    except ValueError as error:
        raise BadRequest(f"The block weights {text[:60]!r} are no numbers.", field="blocks") from error
    names = BLOCKS if len(shares) == len(BLOCKS) else BLOCKS[1:]
    if len(shares) != len(names) or not all(-10 <= share <= 10 for share in shares):
        raise BadRequest(
            f"There are {len(shares)} block weights.",
            hint=f"Write {len(BLOCKS) - 1} numbers (IN00–IN11, M00, OUT00–OUT11), or {len(BLOCKS)} with BASE first.",
            field="blocks",
        )
    return dict(zip(names, shares, strict=True))


def merge(recipe: Recipe, first: Weights, second: Weights, base: Weights | None, layers: int | None = None) -> Weights:
    """Return the merged weights of one component, each in the precision that `first` has.

    `layers`: layers a level of the UNet, None for other components, which count as BASE. What only `first` has stays.
    Raises `BadRequest` when weights of one name differ in shape.
    """
    share_of = _shares(recipe, layers)
    merged: Weights = {}
    for number, (name, tensor) in enumerate(first.items()):
        others = [weights[name] for weights in (second, base) if weights is not None and name in weights]
        if not tensor.dtype.is_floating_point or len(others) < 1 + (base is not None):
            merged[name] = tensor
            continue
        if any(other.shape != tensor.shape for other in others):
            raise BadRequest(
                f"{name} is of another shape in the models: {list(tensor.shape)} and {list(others[0].shape)}.",
                hint="Merge models of one family and variant.",
                field="second",
            )
        merged[name] = _merge(recipe, tensor, others, share_of(name), number).to(tensor.dtype)
    return merged


def _merge(recipe: Recipe, tensor: Tensor, others: Sequence[Tensor], share: float, number: int) -> Tensor:
    first, second = tensor.float(), others[0].float()
    if recipe.method == "weighted_sum":
        return torch.lerp(first, second, share)
    base = others[1].float()
    if recipe.method == "add_difference":
        return first + (second - base) * share
    generator = torch.Generator().manual_seed(recipe.seed + number)
    learnt = [
        keep_largest(change, recipe.density)
        if recipe.method == "ties"
        else keep_some(change, recipe.density, generator)
        for change in (first - base, second - base)
    ]
    changes = torch.stack([learnt[0] * (1 - share), learnt[1] * share])
    return base + (changes.sum(0) if recipe.method == "dare_linear" else elect(changes))


def keep_largest(change: Tensor, density: float) -> Tensor:
    """Return `change` with 0 in place of all but the largest share `density` of its numbers (TIES, section 4)."""
    count = max(1, round(density * change.numel()))
    kept = change.abs().flatten().topk(count).indices
    mask = torch.zeros(change.numel(), dtype=torch.bool)
    mask[kept] = True
    return change * mask.reshape(change.shape)


def keep_some(change: Tensor, density: float, generator: torch.Generator) -> Tensor:
    """Return `change` with 0 in place of most of its numbers, drawn at random, and the others so much larger that the
    sum stays what it was (DARE, section 3)."""
    return change * torch.rand(change.shape, generator=generator).less(density) / density


def elect(changes: Tensor) -> Tensor:
    """Return [...] of weighed changes [models,...]: of each number only those that have the sign of their sum count
    (TIES, section 4)."""
    sign = changes.sum(0).sign()
    return (changes * changes.sign().eq(sign)).sum(0)


def _shares(recipe: Recipe, layers: int | None) -> Callable[[str], float]:
    blocks = recipe.blocks
    if blocks is None:
        return lambda name: recipe.share
    elsewhere = blocks.get("BASE", recipe.share)
    if layers is None:
        return lambda name: elsewhere
    return lambda name: blocks.get(block_of(unet_name(name, layers)), elsewhere)


def block_of(original: str) -> str:
    """Return the block that a UNet's weight belongs to by its original name: IN04, M00, OUT11; BASE for the others."""
    match = re.match(r"(input|output)_blocks\.(\d+)\.", original)
    if match is not None:
        return f"{'IN' if match[1] == 'input' else 'OUT'}{int(match[2]):02}"
    return "M00" if original.startswith("middle_block.") else "BASE"
