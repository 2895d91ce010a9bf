"""A prompt's text → the conditions a network is given, and which of them holds when."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch

from webui.engine import families
from webui.engine.condition import Condition, Encoding
from webui.engine.patience import compute_patiently
from webui.prompt.chunks import LENGTH
from webui.prompt.schedule import Schedule, schedule, schedule_single
from webui.prompt.tags import extract
from webui.weights.memory import Resident

_REMEMBERED = 64  # encoded texts


@dataclass(frozen=True)
class Conditioning:
    """A prompt, or one branch of it: one condition for each segment of its schedule."""

    schedule: Schedule
    conditions: tuple[Condition, ...]

    @property
    def weight(self) -> float:
        return self.schedule.weight

    def at(self, call: int) -> Condition:
        """Return the condition of the network's call number `call`, from 0."""
        return self.conditions[self.schedule.at(call)]


class Prompts:
    """Encodes prompts for one model and remembers the latest texts."""

    def __init__(self, model: Resident) -> None:
        self._model = model
        self._family = families.find(model.checkpoint.family)
        self._known: OrderedDict[tuple[str, Encoding, bool, tuple[str, ...], torch.dtype], Condition] = OrderedDict()

    def positive(self, prompt: str, calls: int, encoding: Encoding, behind: int = 0) -> tuple[Conditioning, ...]:
        """Return the branches of `prompt` for a run of `calls` network calls, `behind` such calls of another pass.

        Extra-network tags are no words.
        """
        text, _ = extract(prompt)
        return tuple(self._conditioning(branch, encoding) for branch in schedule(text, calls, behind))

    def negative(self, prompt: str, calls: int, encoding: Encoding, behind: int = 0) -> Conditioning:
        """Return a negative prompt: edits and alternation, but neither `AND` nor tags."""
        return self._conditioning(schedule_single(prompt, calls, behind), encoding, negative=True)

    def encode(self, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
        """Return the condition of `text`, on the device, in the network's dtype."""
        key = (text, encoding, negative, self._model.wording, self._model.dtype(self._model.denoiser))
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        condition = compute_patiently(
            self._model, lambda: self._family.encode(self._model, text, encoding, negative=negative)
        ).to(key[-1])
        self._known[key] = condition
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return condition

    def _conditioning(self, branch: Schedule, encoding: Encoding, *, negative: bool = False) -> Conditioning:
        """Encode each of the branch's texts once. Shorter ones get empty chunks, so all are of one length (A1111);
        where a mask hides what is behind a text, they may differ."""
        texts = {segment.text for segment in branch.segments}
        conditions = {text: self.encode(text, encoding, negative=negative) for text in sorted(texts)}
        longest = max(condition.length for condition in conditions.values())
        for text, condition in conditions.items():
            missing = (longest - condition.length) // (LENGTH + 2) if condition.mask is None else 0
            if missing:
                empty = self.encode("", encoding).states
                conditions[text] = condition.followed_by(torch.cat([empty] * missing))
        return Conditioning(branch, tuple(conditions[segment.text] for segment in branch.segments))
