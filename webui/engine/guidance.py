"""Classifier-free guidance: how strongly, and when, prompts pull away from the negative prompt."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from webui.domain.plan import GuidancePlan
from webui.engine.condition import Condition, Row, stack
from webui.engine.conditioning import Conditioning
from webui.engine.denoise import Denoise, DenoiseGiven, Limit, NoiseLevels

_TINY = 1e-9  # shares of steps are compared up to rounding


@dataclass(frozen=True, eq=False)
class Guiding:
    """What is combined in one call of the guided denoiser, all of it clean latents as the network predicts them.

    `positive` [R,C,h,w] has a row for each branch of each image's prompt: `owners` name its image (a row of `latents`
    [B,C,h,w]), `weights` its weight. `negative` [B,C,h,w] is None where it is not needed. `scale` is the guidance.
    `again()` asks the network once more for the positive rows [R,C,h,w], for what was changed about it meanwhile;
    `again(others)` what they are of other latents [B,C,h,w], `again(others, negative=True)` the negative ones,
    `again(rows=[0, 2])` some of the positive ones alone.
    """

    latents: Tensor
    sigma: float
    positive: Tensor
    owners: Sequence[int]
    weights: Sequence[float]
    negative: Tensor | None
    scale: float
    again: Callable[..., Tensor]


Combine = Callable[[Guiding], Tensor]
"""What is combined → the guided clean latents [B,C,h,w]."""


def needs_negative(
    positive: Sequence[Sequence[Conditioning]], guidance: float, image_guidance: float | None = None
) -> bool:
    """Tell whether anything of the negative prompts is left: at guidance 1 a branch of weight 1 stands alone, unless a
    picture guides as well."""
    return guidance != 1 or image_guidance not in (None, 1) or not _is_plain(positive)


def _is_plain(positive: Sequence[Sequence[Conditioning]]) -> bool:
    return all(len(branches) == 1 and branches[0].weight == 1 for branches in positive)


@dataclass(frozen=True)
class Shaping:
    """When and how guidance acts along `sigmas`, the noise levels of one run; see `domain.passes.GuidanceOptions`."""

    options: GuidancePlan
    sigmas: Sequence[float]
    levels: NoiseLevels
    limit: Limit | None = None

    @property
    def image_guidance(self) -> float:
        """How strongly a picture beside the latents guides; at 1 no more than any condition does."""
        return 1.0 if self.options.image is None else self.options.image

    def acts(self, sigma: float, call: int) -> bool:
        """Tell whether the negative branch counts in the network's call number `call`, which is at `sigma`.

        A step lies between two levels. As in A1111, a start above 0 leaves out the step that lies at it, and below the
        least sigma every second call goes without.
        """
        if sigma < self.options.minimum and call % 2:
            return False
        steps = len(self.sigmas) - 1
        share = sum(level >= sigma for level in self.sigmas[1:]) / steps
        begun = self.options.start == 0 or share > self.options.start + _TINY
        return begun and share < self.options.end - _TINY

    @property
    def shapes(self) -> bool:
        """Whether anything is done to what guidance makes."""
        return self.options.rescale != 0 or self.limit is not None

    def shape(self, guided: Tensor, unguided: Tensor, latents: Tensor, sigma: float) -> Tensor:
        """Return `guided` as the model's family and the options want it."""
        if self.limit is not None:
            anchor = self.levels.anchor(latents, sigma)
            guided = anchor - self.limit(anchor - guided, anchor - unguided)
        return guided if self.options.rescale == 0 else self.rescale(guided, unguided, latents, sigma)

    def rescale(self, guided: Tensor, unguided: Tensor, latents: Tensor, sigma: float) -> Tensor:
        """Return `guided` with the spread that the network's output has without guidance, as far as it is asked for.

        Lin et al. 2023, arXiv:2305.08891, equations 14 to 16, on the network's own output (noise or velocity), as in
        diffusers' `rescale_noise_cfg`. Both outputs are (anchor - clean latents) · f, with an anchor and an f that
        depend on the noisy latents and sigma alone. f cancels out of the ratio of spreads, so scaling the distance from
        the anchor scales the output; scaling the clean latents themselves would be something else.
        """
        anchor = self.levels.anchor(latents, sigma)
        wide, narrow = anchor - guided, anchor - unguided
        ratio = narrow.std((1, 2, 3), keepdim=True) / wide.std((1, 2, 3), keepdim=True)
        return anchor - wide * (self.options.rescale * ratio + 1 - self.options.rescale)


def guide(
    denoise: DenoiseGiven,
    positive: Sequence[Sequence[Conditioning]],
    negative: Sequence[Conditioning],
    guidance: float,
    watch: Callable[[Tensor], None] | None = None,
    shaping: Shaping | None = None,
    beside: Tensor | None = None,
    count: Callable[[], int] | None = None,
    wrap: Callable[[Combine], Combine] | None = None,
) -> Denoise:
    """Return the guided denoiser: negative + Σ weight · guidance · (branch - negative), on the clean latents.

    `positive` holds the branches of each image's prompt, `negative` one conditioning per image. All are one batch.
    Negative prompts that are not needed are not computed and may be left out; where `shaping` leaves them out, the
    first branch stands in for the negative one and guidance is 1 (A1111). The denoiser counts its calls
    to know which conditions hold, so it serves one run of a sampler. `watch` is told what each call
    predicts without guidance.
    Where `count` is given, it tells the number of each call instead: a call may then be made more than once. `wrap`
    changes how the predictions are combined.
    `beside` [B,k,h,w] are further channels that the network sees behind each image's latents. With an image guidance in
    `shaping`, the negative prompts are also denoised without them, and the result moves away from that as well (Brooks
    et al. 2022, arXiv:2211.09800, equation 3).
    (Ho & Salimans 2022, arXiv:2207.12598; Liu et al. 2022, arXiv:2206.01714, for several branches.)
    """
    count = count or functools.partial(next, itertools.count())
    prompts = _Prompts.of(positive)
    image_guidance = 1.0 if shaping is None or beside is None else shaping.image_guidance
    needed = needs_negative(positive, guidance, image_guidance)
    alone = _Batch(denoise, prompts.branches, prompts.owners, len(positive) * (2 if needed else 1))
    images = range(len(positive))
    both = _Batch(
        denoise, [*negative, *prompts.branches], [*images, *prompts.owners], 2 * len(positive), len(negative)
    )  # fmt: skip
    blind = _Batch(denoise, negative, images, len(positive), len(negative))
    combine = prompts.combine_all if wrap is None else wrap(prompts.combine_all)

    def guided(latents: Tensor, sigma: float) -> Tensor:
        call = count()
        seen = latents if beside is None else torch.cat([latents, beside], 1)

        def again(others: Tensor | None = None, *, negative: bool = False, rows: Sequence[int] | None = None) -> Tensor:
            asked = seen if others is None else torch.cat([others, seen[:, others.shape[1] :]], 1)
            if negative:
                return blind.run(asked, sigma, call)
            if rows is not None:
                return alone.run_some(asked[[prompts.owners[row] for row in rows]], sigma, call, rows)
            return alone.run(prompts.spread(asked), sigma, call)

        def combined(clean: Tensor, without: Tensor | None, scale: float) -> Tensor:
            return combine(Guiding(latents, sigma, clean, prompts.owners, prompts.weights, without, scale, again))

        if not needed:
            return combined(again(), None, 1.0)
        acts = shaping is None or shaping.acts(sigma, call)
        if not acts:
            clean = alone.run(prompts.spread(seen), sigma, call)
            without, scale = clean[prompts.firsts], 1.0
        else:
            clean = both.run(torch.cat([seen, prompts.spread(seen)]), sigma, call)
            without, clean, scale = clean[: len(positive)], clean[len(positive) :], guidance
        if watch is not None:
            watch(without)
        result = combined(clean, without, scale)
        if beside is not None and image_guidance != 1 and acts:
            unseen = blind.run(torch.cat([latents, torch.zeros_like(beside)], 1), sigma, call)
            result = result + (image_guidance - 1) * (without - unseen)
        if shaping is None or not shaping.shapes or scale == 1:
            return result
        return shaping.shape(result, prompts.combine(without, clean, 1.0), latents, sigma)

    return guided


class _Prompts:
    """The branches of a batch's prompts in one row, and which image each belongs to."""

    def __init__(self, branches: Sequence[Conditioning], owners: Sequence[int], plain: bool) -> None:
        self.branches = branches
        self.owners = owners
        self.firsts = [owners.index(image) for image in sorted(set(owners))]
        self._plain = plain

    @property
    def weights(self) -> list[float]:
        return [branch.weight for branch in self.branches]

    @classmethod
    def of(cls, positive: Sequence[Sequence[Conditioning]]) -> _Prompts:
        flat = [branch for branches in positive for branch in branches]
        owners = [image for image, branches in enumerate(positive) for _ in branches]
        return cls(flat, owners, _is_plain(positive))

    def spread(self, latents: Tensor) -> Tensor:
        """Return for each branch the latents [C,h,w] of its image."""
        return latents if self._plain else latents[self.owners]

    def combine_all(self, guiding: Guiding) -> Tensor:
        """Return the guided clean latents, as classifier-free guidance has them; `Combine`."""
        if guiding.negative is None:
            return guiding.positive
        return self.combine(guiding.negative, guiding.positive, guiding.scale)

    def combine(self, without: Tensor, clean: Tensor, guidance: float) -> Tensor:
        """Return what the branches' predictions `clean` make of the images' predictions `without` them."""
        if self._plain:
            return without + guidance * (clean - without)
        result = without.clone()
        for row, (image, branch) in enumerate(zip(self.owners, self.branches, strict=True)):
            result[image] += (clean[row] - without[image]) * (branch.weight * guidance)
        return result


class _Batch:
    """The rows of a batch under the conditions that hold in each call."""

    def __init__(
        self,
        denoise: DenoiseGiven,
        conditionings: Sequence[Conditioning],
        owners: Sequence[int],
        most: int,
        negatives: int = 0,
    ) -> None:
        """`owners` says which image each row belongs to; `most` rows go into one network call.

        The first `negatives` rows are those of negative prompts.
        """
        self._denoise = denoise
        self._conditionings = conditionings
        self._owners = owners
        self._most = most
        self._negatives = negatives
        self._roles = _roles(owners, negatives)
        self._held: tuple[int, ...] = ()
        self._rows = _Rows(())

    def run(self, latents: Tensor, sigma: float, call: int) -> Tensor:
        holding = tuple(each.schedule.at(call) for each in self._conditionings)
        if holding != self._held:
            self._held, self._rows = holding, _Rows.of(self._conditions(call), self._roles, self._most)
        return self._rows.denoise(self._denoise, latents, sigma)

    def run_some(self, latents: Tensor, sigma: float, call: int, rows: Sequence[int]) -> Tensor:
        """Return the same for some rows, whose latents these are, under the conditions they have among all."""
        conditions = self._conditions(call)
        some = _Rows.of([conditions[row] for row in rows], [self._roles[row] for row in rows], self._most)
        return some.denoise(self._denoise, latents, sigma)

    def _conditions(self, call: int) -> list[Condition]:
        """Return the condition of each row; those of one image's branches are brought to one length, as A1111 does.

        Negative prompts keep theirs. Where masks hide what is behind the texts, all can be brought to one length.
        """
        conditions = [each.at(call) for each in self._conditionings]
        if all(condition.mask is not None for condition in conditions):
            most = max(condition.length for condition in conditions)
            return [condition.stretched(most) for condition in conditions]
        longest: dict[int, int] = {}
        for image, condition in list(zip(self._owners, conditions, strict=True))[self._negatives :]:
            longest[image] = max(longest.get(image, 0), condition.length)
        for row in range(self._negatives, len(conditions)):
            conditions[row] = conditions[row].stretched(longest[self._owners[row]])
        return conditions


def _roles(owners: Sequence[int], negatives: int) -> tuple[Row, ...]:
    """Return what rows are for of which the first `negatives` are those of negative prompts."""
    branches: Counter[int] = Counter()
    roles = [Row(image, is_negative=True) for image in owners[:negatives]]
    for image in owners[negatives:]:
        roles.append(Row(image, branches[image]))
        branches[image] += 1
    return tuple(roles)


@dataclass(frozen=True)
class _Rows:
    """The conditions of a batch, stacked by length.

    Conditions of different length cannot share a network call, and padding the shorter ones would change what the
    network sees: the picture of a prompt would depend on its neighbours in the batch. So each length is one call.
    """

    groups: tuple[tuple[Tensor | None, Condition], ...]  # (indices of the rows, or None for all; their condition)

    @classmethod
    def of(cls, conditions: Sequence[Condition], roles: Sequence[Row], most: int) -> _Rows:
        lengths = sorted({condition.length for condition in conditions})
        if len(lengths) == 1 and len(conditions) <= most:
            return cls(((None, stack(conditions, roles)),))
        groups: list[tuple[Tensor | None, Condition]] = []
        for length in lengths:
            rows = [row for row, condition in enumerate(conditions) if condition.length == length]
            for start in range(0, len(rows), most):
                part = rows[start : start + most]
                stacked = stack([conditions[row] for row in part], [roles[row] for row in part])
                groups.append((torch.tensor(part, device=stacked.states.device), stacked))
        return cls(tuple(groups))

    def denoise(self, denoise: DenoiseGiven, latents: Tensor, sigma: float) -> Tensor:
        if self.groups[0][0] is None:
            return denoise(latents, sigma, self.groups[0][1])
        parts = [(rows, denoise(latents[rows], sigma, condition)) for rows, condition in self.groups]
        clean = parts[0][1].new_empty((latents.shape[0], *parts[0][1].shape[1:]))
        for rows, part in parts:
            clean[rows] = part
        return clean
