"""What tests of the engine share: drawing a plan's latents, and comparing them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from webui.domain.plan import Plan
from webui.engine.control import Control
from webui.engine.engine import Engine, ImageReady
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


def noise_of(plan: Plan, channels: int = 16) -> Tensor:
    """Return the noise [1,C,h,w] that the first image of `plan` begins with."""
    shape = (1, channels, plan.height // 8, plan.width // 8)
    return torch.randn(shape, generator=torch.Generator().manual_seed(plan.images[0].seed))


def picture_of(engine: Engine, plan: Plan) -> np.ndarray:
    """Return the only picture of `plan` as [H,W,3]."""
    (ready,) = (item for item in engine.run(plan, Control()) if isinstance(item, ImageReady))
    return np.asarray(ready.image, np.int16)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference in units of the latents' own spread."""
    return float((ours - theirs).abs().max() / theirs.std())
