"""Each branch of a prompt counts in its region: latents are combined place by place."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from extensions.regional_prompts.layout import Box
from extensions.regional_prompts.options import Regions
from webui.extending.computing import Combine, Guiding, Run

_TINY = 1e-6


def confine(default: Combine, run: Run) -> Combine:
    """Return how predictions are combined: as `default` does with each branch's distance from the negative prediction
    multiplied by its share of each place. Images whose prompt has other branches are left alone."""
    regions = Regions.model_validate(run.facts)
    if regions.in_attention:
        return default
    known: dict[tuple[int, int], Tensor] = {}  # by the size of the latents

    def combine(guiding: Guiding) -> Tensor:
        height, width = guiding.latents.shape[-2:]
        if (height, width) not in known:
            known[height, width] = run.place(shares_of(regions, width, height, run))
        shares = _spread(known[height, width], guiding.owners)
        if guiding.negative is None:
            return default(guiding)
        without = guiding.negative[list(guiding.owners)]

        def confined(clean: Tensor, rows: Sequence[int]) -> Tensor:
            return without[rows] + (clean - without[rows]) * shares[rows].to(clean)

        everything = range(len(guiding.owners))

        def again(others: Tensor | None = None, *, negative: bool = False, rows: Sequence[int] | None = None) -> Tensor:
            asked: Tensor = guiding.again(others, negative=negative, rows=rows)
            return asked if negative else confined(asked, list(everything if rows is None else rows))

        positive = confined(guiding.positive, list(everything))
        return default(dataclasses.replace(guiding, positive=positive, again=again))

    return combine


def _spread(shares: Tensor, owners: Sequence[int]) -> Tensor:
    """Return the share of each row [R,1,h,w]; 1 for images of another number of branches than `shares` [K,1,h,w]."""
    rows = []
    for image in sorted({*owners}):
        count = list(owners).count(image)
        fits = count == shares.shape[0]
        rows.append(shares if fits else torch.ones_like(shares[:1]).expand(count, -1, -1, -1))
    return torch.cat(rows)


def shares_of(regions: Regions, width: int, height: int, run: Run) -> Tensor:
    """Return how much each branch counts at each place, [K,1,h,w]; together 1.

    Where no painted region is, the base counts alone, or without one all regions alike.
    """
    if regions.boxes:
        drawn = torch.stack([draw_box(box, width, height) for box in regions.boxes])
    else:
        drawn = torch.stack([shrink(run.inputs[mask], width, height) for mask in regions.masks])
    covered = drawn.sum(0)
    if regions.has_base:
        own = drawn / covered.clamp(min=1)
        kept = own * (1 - torch.tensor(regions.base_shares).reshape(-1, 1, 1))
        return torch.cat([(1 - kept.sum(0)).unsqueeze(0), kept]).unsqueeze(1)
    return torch.where(covered > _TINY, drawn / covered.clamp(min=_TINY), 1 / len(drawn)).unsqueeze(1)


def draw_box(box: Box, width: int, height: int) -> Tensor:
    """Return 1 at those of `width` × `height` places whose middle lies in `box`, [h,w]."""
    across = (torch.arange(width) + 0.5) / width
    down = (torch.arange(height) + 0.5) / height
    inside = ((down >= box.top) & (down < box.bottom)).unsqueeze(1) & ((across >= box.left) & (across < box.right))
    return inside.float()


def shrink(mask: Image.Image, width: int, height: int) -> Tensor:
    """Return how white `mask` is at each place, 0 … 1, [h,w]."""
    small = mask.convert("L").resize((width, height), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small, np.float32) / 255)
