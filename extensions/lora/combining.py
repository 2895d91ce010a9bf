"""Several networks in one run: all merged, in turns, or the mean of what each alone would paint.

Zhong et al. 2024, Multi-LoRA Composition for Image Generation, arXiv:2402.16843.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from extensions.lora.merging import Part, merge, merged, size_of
from extensions.lora.options import LoraFacts
from extensions.lora.tags import Ask
from webui.extending.computing import Combine, Denoise, Guiding, Resident, Run, is_quantised


@dataclass(frozen=True)
class Member:
    """One network of a run: what the prompt asks of it, the hash of its file, and its parts by component."""

    ask: Ask
    sha256: str
    parts: dict[str, tuple[Part, ...]] = field(repr=False)


class Scene:
    """What the networks of one run make of its model, from step to step."""

    def __init__(
        self, model: Resident, members: Sequence[Member], facts: LoraFacts, branches: Sequence[Sequence[int]] = ()
    ) -> None:
        """`branches` say which members act in which part of the prompt, if each has its own (regions)."""
        self._model = model
        self._members = members
        self._facts = facts
        self._branches = tuple(tuple(branch) for branch in branches)
        self._shown: tuple[int, ...] | None = None
        self._open = ExitStack()
        self._kept: dict[tuple[int, ...], dict[str, Tensor]] = {}

    @contextmanager
    def open(self) -> Iterator[None]:
        """Let the networks act while the block runs: on the text encoders all, on the denoiser those of each step."""
        encoders = {component for member in self._members for component in member.parts} - {self._model.denoiser}
        with ExitStack() as stack:
            for encoder in sorted(encoders):
                parts = self._parts(encoder, range(len(self._members)))
                stack.enter_context(merged(self._model, encoder, parts, _key(self._members)))
            stack.callback(self._close)
            if not self.changes:
                self._show(tuple(range(len(self._members))))
            yield

    @property
    def changes(self) -> bool:
        """Whether the denoiser is not the same all the time."""
        several = len(self._members) > 1 and self._facts.combination != "Merge"
        return several or bool(self._branches) or any(not member.ask.steps.whole for member in self._members)

    def wrap(self, denoise: Denoise, run: Run) -> Denoise:
        """Return the guided denoiser, for which the right networks act in each step.

        Composite is equation 4 of the paper: the mean of the guided predictions under each network alone. Predictions
        of clean latents and of noise differ by a factor and a term that are the same for all, so means agree.
        """
        if not self.changes:
            return denoise
        steps = max(len(run.sigmas) - 1, 1)

        def denoised(latents: Tensor, sigma: float) -> Tensor:
            turns = self.turns(run.step_at(sigma), steps)
            results = []
            for turn in turns:
                self._show(turn)
                results.append(denoise(latents, sigma))
            return results[0] if len(results) == 1 else torch.stack(results).mean(0)

        return denoised

    def turns(self, step: int, steps: int) -> tuple[tuple[int, ...], ...]:
        """Return which networks act together in step number `step`, from 0; several: the mean of their predictions.

        Switch is equation 3 of the paper: of k networks each has its turn for τ steps.
        """
        acting = self._acting(step, steps)
        if self._branches:
            return (tuple(number for number in acting if all(number in branch for branch in self._branches)),)
        if len(acting) < 2 or self._facts.combination == "Merge":
            return (acting,)
        if self._facts.combination == "Composite":
            return tuple((number,) for number in acting)
        return ((acting[step // self._facts.switch_every % len(acting)],),)

    def guide(self, default: Combine, run: Run) -> Combine:
        """Return how predictions are combined: where parts of the prompt have networks of their own, each part's is
        what the network predicts under these. The negative prompt's is under those that all parts have."""
        if not self._branches:
            return default
        steps = max(len(run.sigmas) - 1, 1)

        def combined(guiding: Guiding) -> Tensor:
            step = run.step_at(guiding.sigma)
            acting, (shown,) = self._acting(step, steps), self.turns(step, steps)
            positive = guiding.positive.clone()
            try:
                for numbers, rows in self._rows(guiding.owners, acting).items():
                    if numbers != shown:
                        self._show(numbers)
                        positive[rows] = guiding.again(rows=rows)
            finally:
                self._show(shown)
            return default(replace(guiding, positive=positive))

        return combined

    def _rows(self, owners: Sequence[int], acting: Sequence[int]) -> dict[tuple[int, ...], list[int]]:
        """Return by networks the rows that are computed under them, for the branches of the images `owners`."""
        rows: dict[tuple[int, ...], list[int]] = {}
        seen: Counter[int] = Counter()
        for row, image in enumerate(owners):
            branch = self._branches[seen[image]] if seen[image] < len(self._branches) else ()
            seen[image] += 1
            rows.setdefault(tuple(number for number in acting if number in branch), []).append(row)
        return rows

    def _acting(self, step: int, steps: int) -> tuple[int, ...]:
        return tuple(number for number, member in enumerate(self._members) if member.ask.steps.holds(step, steps))

    def _show(self, numbers: tuple[int, ...]) -> None:
        """Let these networks alone act on the denoiser."""
        if numbers == self._shown:
            return
        self._close()
        component = self._model.denoiser
        parts = self._parts(component, numbers)
        if parts and self.changes and self._can_keep(parts):
            if numbers not in self._kept:
                self._kept[numbers] = dict(merge(self._model, component, parts))
            self._open.enter_context(self._model.altered(component, self._kept[numbers], ""))
        else:
            self._open.enter_context(merged(self._model, component, parts, ""))
        self._shown = numbers

    def _can_keep(self, parts: Sequence[Part]) -> bool:
        """Tell whether what is merged can be kept for the next turn: it takes as much memory as the layers it changes,
        which half of what is free holds."""
        component = self._model.denoiser
        size = size_of(self._model, component, parts) * len(self._members)
        quantised = any(is_quantised(tensor) for tensor in self._model.weights(component).values())
        return not quantised and size < self._model.room(component) // 2

    def _close(self) -> None:
        self._shown = None
        self._open.close()

    def _parts(self, component: str, numbers: Sequence[int]) -> list[Part]:
        return [part for number in numbers for part in self._members[number].parts.get(component, ())]


def _key(members: Sequence[Member]) -> str:
    """Return what tells text encoders under these networks from others."""
    return " ".join(member.ask.model_dump_json() + member.sha256 for member in members)
