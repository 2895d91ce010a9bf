"""Self-attention guidance: away from what the network makes of a picture that is blurred where it looks.

(Hong et al. 2022, arXiv:2210.00939, algorithm 1; in the layer and with the kernel that diffusers takes.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from extensions.self_attention_guidance.options import SelfAttentionGuidance
from webui.extending.api import BadRequest
from webui.extending.computing import Combine, Guiding, Row, Run

REACH = 4  # latents on each side of the one that is blurred


class Guide:
    """What was seen in the first self-attention of the middle block, and the guidance made of it.

    `listen` is entered before `guide` is asked for; both serve one run after the other.
    """

    def __init__(self) -> None:
        self._seen: dict[Row, Tensor] = {}  # how much attention each place [h,w] of a row got in the latest call
        self._size = (0, 0)
        self._listens = False

    @contextmanager
    def listen(self, run: Run) -> Iterator[None]:
        """Look at the middle block's attention until the end; raise `BadRequest` for a network that has none."""
        middle = getattr(getattr(run.network, "mid_block", None), "attentions", None)
        if not middle:
            raise BadRequest(
                "Self-attention guidance works with SD1, SD2 and SDXL.",
                hint="Switch it off for this model.",
                field="extensions.self_attention_guidance.enabled",
            )

        def note_size(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
            self._size = tuple(given[0].shape[-2:])

        def note_attention(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
            if self._listens:
                maps = attention_received(layer, given[0]).unflatten(1, self._size)
                self._seen.update(zip(run.moment.rows, maps, strict=True))

        hooks = [
            middle[0].register_forward_pre_hook(note_size),
            middle[0].transformer_blocks[0].attn1.register_forward_pre_hook(note_attention),
        ]
        self._seen, self._listens = {}, True
        try:
            yield
        finally:
            self._seen, self._listens = {}, False
            for hook in hooks:
                hook.remove()

    def guide(self, default: Combine, run: Run) -> Combine:
        """Return how predictions are combined: as `default` does, plus scale · (blurred - prediction for blurred).

        The negative prompt's prediction is blurred, as the paper has it; where there is none the prompt's is.
        """
        options = SelfAttentionGuidance.model_validate(run.facts)

        def combine(guiding: Guiding) -> Tensor:
            images = range(guiding.latents.shape[0])
            without = all(Row(image, is_negative=True) in self._seen for image in images)
            firsts = [guiding.owners.index(image) for image in images]
            clean = guiding.negative if without else guiding.positive[firsts]
            rows = [Row(image, is_negative=without) for image in images]
            masks = torch.stack([self._seen[row] for row in rows]).unsqueeze(1) > options.threshold
            blurred = blur_where(clean, masks, options.blur_sigma)
            change = blurred - clean
            noisy = guiding.latents + run.levels.noised(change, torch.zeros_like(change), guiding.sigma)
            self._seen, self._listens = {}, False
            try:
                asked = guiding.again(noisy, negative=without)
            finally:
                self._listens = True
            return default(guiding) + options.scale * (blurred - (asked if without else asked[firsts]))

        return combine


def attention_received(layer: nn.Module, states: Tensor) -> Tensor:
    """Return how much attention each of T places gets from all of them [B,T], over all heads, for `states` [B,T,D]:
    1 on average."""
    query, key = (part(states).unflatten(-1, (layer.heads, -1)).transpose(1, 2) for part in (layer.to_q, layer.to_k))
    scores = (query.float() @ key.float().transpose(-1, -2)) * layer.scale
    return scores.softmax(-1).mean(1).sum(1)


def blur_where(latents: Tensor, masks: Tensor, sigma: float) -> Tensor:
    """Return `latents` [B,C,h,w], blurred where `masks` [B,1,y,x] are true."""
    wanted = functional.interpolate(masks.to(latents.dtype), latents.shape[-2:])
    return torch.lerp(latents, blur(latents, sigma), wanted)


def blur(latents: Tensor, sigma: float) -> Tensor:
    """Return `latents` [B,C,h,w] under a Gaussian of 9 × 9 and standard deviation `sigma`; edges are reflected."""
    places = torch.arange(-REACH, REACH + 1, dtype=latents.dtype, device=latents.device)
    weights = torch.exp(-0.5 * (places / sigma) ** 2)
    weights = weights / weights.sum()
    channels = latents.shape[1]
    kernel = torch.outer(weights, weights).expand(channels, 1, -1, -1)
    padded = functional.pad(latents, (REACH,) * 4, mode="reflect")
    return functional.conv2d(padded, kernel, groups=channels)
