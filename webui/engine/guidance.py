"""Classifier-free guidance: how strongly the prompt pulls away from the negative prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from webui.engine.denoise import Denoise, DenoiseGiven


def guide(denoise: DenoiseGiven, positive: Sequence[Tensor], negative: Sequence[Tensor], guidance: float) -> Denoise:
    """Return the guided denoiser: negative + guidance · (positive - negative), on the predicted clean latents.

    `positive` and `negative` hold one context [T,D] per image. Both branches are one batch. At guidance 1 the
    negative branch cancels out and is not computed. (Ho & Salimans 2022, arXiv:2207.12598.)
    """
    if guidance == 1:
        alone = _Rows.of(positive)
        return lambda latents, sigma: alone.denoise(denoise, latents, sigma)
    both = _Rows.of([*negative, *positive])

    def guided(latents: Tensor, sigma: float) -> Tensor:
        without, with_prompt = both.denoise(denoise, torch.cat([latents, latents]), sigma).chunk(2)
        return without + guidance * (with_prompt - without)

    return guided


@dataclass(frozen=True)
class _Rows:
    """The contexts of a batch, stacked by length.

    Contexts of different length cannot share a network call, and padding the shorter ones would change what the
    network sees: the picture of a prompt would depend on its neighbours in the batch. So each length is one call.
    """

    groups: tuple[tuple[Tensor | None, Tensor], ...]  # (indices of the rows, or None for all; contexts [n,T,D])

    @classmethod
    def of(cls, contexts: Sequence[Tensor]) -> _Rows:
        lengths = sorted({context.shape[0] for context in contexts})
        if len(lengths) == 1:
            return cls(((None, torch.stack(list(contexts))),))
        groups: list[tuple[Tensor | None, Tensor]] = []
        for length in lengths:
            rows = [row for row, context in enumerate(contexts) if context.shape[0] == length]
            stacked = torch.stack([contexts[row] for row in rows])
            groups.append((torch.tensor(rows, device=stacked.device), stacked))
        return cls(tuple(groups))

    def denoise(self, denoise: DenoiseGiven, latents: Tensor, sigma: float) -> Tensor:
        if self.groups[0][0] is None:
            return denoise(latents, sigma, self.groups[0][1])
        clean = torch.empty_like(latents)
        for rows, contexts in self.groups:
            clean[rows] = denoise(latents[rows], sigma, contexts)
        return clean
