"""Classifier-free guidance: how strongly the prompt, or several at once, pull away from the negative prompt."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from webui.engine.conditioning import Conditioning
from webui.engine.denoise import Denoise, DenoiseGiven


def needs_negative(positive: Sequence[Sequence[Conditioning]], guidance: float) -> bool:
    """Tell whether anything of the negative prompts is left: at guidance 1 a branch of weight 1 stands alone."""
    return guidance != 1 or not _is_plain(positive)


def _is_plain(positive: Sequence[Sequence[Conditioning]]) -> bool:
    return all(len(branches) == 1 and branches[0].weight == 1 for branches in positive)


def guide(
    denoise: DenoiseGiven,
    positive: Sequence[Sequence[Conditioning]],
    negative: Sequence[Conditioning],
    guidance: float,
    watch: Callable[[Tensor], None] | None = None,
) -> Denoise:
    """Return the guided denoiser: negative + Σ weight · guidance · (branch - negative), on the clean latents.

    `positive` holds the branches of each image's prompt, `negative` one conditioning per image. All are one batch.
    Negative prompts that are not needed are not computed and may be left out. The denoiser counts its calls to know
    which contexts hold, so it serves one run of a sampler. `watch` is told what each call predicts without guidance, if
    that is computed. (Ho & Salimans 2022, arXiv:2207.12598; Liu et al. 2022,
    arXiv:2206.01714, for several branches.)
    """
    calls = itertools.count()
    plain = _is_plain(positive)
    if not needs_negative(positive, guidance):
        alone = _Batch(denoise, [branches[0] for branches in positive], len(positive))
        return lambda latents, sigma: alone.run(latents, sigma, next(calls))
    flat = [branch for branches in positive for branch in branches]
    owners = [image for image, branches in enumerate(positive) for _ in branches]
    batch = _Batch(denoise, [*negative, *flat], 2 * len(positive), [*range(len(positive)), *owners])

    def guided(latents: Tensor, sigma: float) -> Tensor:
        count = len(positive)
        rows = [latents, latents] if plain else [latents, latents[owners]]
        clean = batch.run(torch.cat(rows), sigma, next(calls))
        without, with_prompt = clean[:count], clean[count:]
        if watch is not None:
            watch(without)
        if plain:
            return without + guidance * (with_prompt - without)
        result = without.clone()
        for row, (image, branch) in enumerate(zip(owners, flat, strict=True)):
            result[image] += (with_prompt[row] - without[image]) * (branch.weight * guidance)
        return result

    return guided


class _Batch:
    """The rows of a batch under the contexts that hold in each call."""

    def __init__(
        self,
        denoise: DenoiseGiven,
        conditionings: Sequence[Conditioning],
        most: int,
        owners: Sequence[int] | None = None,
    ) -> None:
        """`most` rows go into one network call; `owners` says which image each row belongs to."""
        self._denoise = denoise
        self._conditionings = conditionings
        self._most = most
        self._owners = owners or range(len(conditionings))
        self._count = len(set(self._owners))
        self._held: tuple[int, ...] = ()
        self._rows = _Rows(())

    def run(self, latents: Tensor, sigma: float, call: int) -> Tensor:
        holding = tuple(each.schedule.at(call) for each in self._conditionings)
        if holding != self._held:
            self._held, self._rows = holding, _Rows.of(self._contexts(call), self._most)
        return self._rows.denoise(self._denoise, latents, sigma)

    def _contexts(self, call: int) -> list[Tensor]:
        """Return the context of each row; those of one image's branches are brought to one length, as A1111 does.

        The negative prompts, which come first, keep theirs.
        """
        contexts = [each.at(call) for each in self._conditionings]
        longest = [0] * self._count
        for row in range(self._count, len(contexts)):
            longest[self._owners[row]] = max(longest[self._owners[row]], contexts[row].shape[0])
        for row in range(self._count, len(contexts)):
            missing = longest[self._owners[row]] - contexts[row].shape[0]
            if missing:
                contexts[row] = torch.cat([contexts[row], contexts[row][-1:].expand(missing, -1)])
        return contexts


@dataclass(frozen=True)
class _Rows:
    """The contexts of a batch, stacked by length.

    Contexts of different length cannot share a network call, and padding the shorter ones would change what the
    network sees: the picture of a prompt would depend on its neighbours in the batch. So each length is one call.
    """

    groups: tuple[tuple[Tensor | None, Tensor], ...]  # (indices of the rows, or None for all; contexts [n,T,D])

    @classmethod
    def of(cls, contexts: Sequence[Tensor], most: int) -> _Rows:
        lengths = sorted({context.shape[0] for context in contexts})
        if len(lengths) == 1 and len(contexts) <= most:
            return cls(((None, torch.stack(list(contexts))),))
        groups: list[tuple[Tensor | None, Tensor]] = []
        for length in lengths:
            rows = [row for row, context in enumerate(contexts) if context.shape[0] == length]
            for start in range(0, len(rows), most):
                part = rows[start : start + most]
                stacked = torch.stack([contexts[row] for row in part])
                groups.append((torch.tensor(part, device=stacked.device), stacked))
        return cls(tuple(groups))

    def denoise(self, denoise: DenoiseGiven, latents: Tensor, sigma: float) -> Tensor:
        if self.groups[0][0] is None:
            return denoise(latents, sigma, self.groups[0][1])
        clean = torch.empty_like(latents)
        for rows, contexts in self.groups:
            clean[rows] = denoise(latents[rows], sigma, contexts)
        return clean
