"""What tests of the engine share: drawing a plan's latents, and comparing them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from webui.domain.plan import Plan
from webui.engine.control import Control
from webui.engine.generate import Batch, draw
from webui.engine.models import Models
from webui.images.canvas import Canvas


def latents_of(plan: Plan, models: Models, canvases: Sequence[Canvas] = ()) -> Tensor:
    """Return the latents that all passes of a plan of one batch draw, before they are decoded."""
    work = draw(Batch(plan, plan.images, canvases), models, Control())
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value.latents


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference in units of the latents' own spread."""
    return float((ours - theirs).abs().max() / theirs.std())
