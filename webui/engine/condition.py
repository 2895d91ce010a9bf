"""What a network is told besides noisy latents, and how texts become that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from webui.domain.plan import EmphasisMode, Plan
from webui.prompt.chunks import BACKTRACK


@dataclass(frozen=True)
class Encoding:
    """How texts become conditions, besides the model: clip skip, what emphasis does, the comma rule, and the guidance
    that a distilled network is told."""

    clip_skip: int = 1
    emphasis: EmphasisMode = "Original"
    comma_backtrack: int = BACKTRACK
    distilled_guidance: float | None = None

    @classmethod
    def of(cls, plan: Plan) -> Encoding:
        return cls(plan.clip_skip, plan.emphasis, plan.comma_backtrack, plan.distilled_guidance)


@dataclass(frozen=True)
class Row:
    """What a row of the network's batch is for: image `image` of the batch of images, and which `branch` of its prompt
    (parts that `AND` joins, from 0), or its negative prompt."""

    image: int
    branch: int = 0
    is_negative: bool = False


@dataclass(frozen=True, eq=False)
class Condition:
    """The `states` [T,D] of a text, or [B,T,D] of a batch of them, and for families that want one a `pooled` state [P]
    or [B,P] of each text as a whole; for networks that were distilled so, the `guidance` [] or [B] they shall show; for
    SDXL's refiner, the `score` [] or [B] of how good-looking a picture shall be.

    Where there is a `mask` [T] or [B,T], the network does not see the states that are false in it. `rows` tell what
    each of a batch is for."""

    states: Tensor
    pooled: Tensor | None = None
    guidance: Tensor | None = None
    mask: Tensor | None = None
    score: Tensor | None = None
    rows: tuple[Row, ...] = ()

    @property
    def length(self) -> int:
        """How many states there are to a text."""
        return self.states.shape[-2]

    def to(self, dtype: torch.dtype) -> Condition:
        """Return the same in another precision."""
        pooled = None if self.pooled is None else self.pooled.to(dtype)
        return replace(self, states=self.states.to(dtype), pooled=pooled)

    def followed_by(self, states: Tensor) -> Condition:
        """Return one text's condition with further states [n,D] behind its own."""
        return replace(self, states=torch.cat([self.states, states]))

    def stretched(self, length: int) -> Condition:
        """Return one text's condition of at least `length` states: its last one is repeated, unseen under a mask."""
        missing = length - self.length
        if missing <= 0:
            return self
        longer = self.followed_by(self.states[-1:].expand(missing, -1))
        return longer if self.mask is None else replace(longer, mask=functional.pad(self.mask, (0, missing)))


def stack(conditions: Sequence[Condition], rows: Sequence[Row] = ()) -> Condition:
    """Return texts' conditions of one length as that of a batch, one of `rows` for each."""
    pooled = [condition.pooled for condition in conditions if condition.pooled is not None]
    guidance = [condition.guidance for condition in conditions if condition.guidance is not None]
    masks = [condition.mask for condition in conditions if condition.mask is not None]
    scores = [condition.score for condition in conditions if condition.score is not None]
    return Condition(
        torch.stack([condition.states for condition in conditions]),
        torch.stack(pooled) if pooled else None,
        torch.stack(guidance) if guidance else None,
        torch.stack(masks) if masks else None,
        torch.stack(scores) if scores else None,
        tuple(rows),
    )
