"""A prompt's text → the contexts a network is conditioned on, and which of them holds when."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor

from webui.domain.plan import EmphasisMode, Plan
from webui.engine.families import sd1
from webui.prompt.chunks import BACKTRACK, LENGTH, Chunk, chunk
from webui.prompt.schedule import Schedule, schedule, schedule_single
from webui.prompt.tags import extract
from webui.prompt.tokens import weigh_tokens
from webui.weights.memory import Resident
from webui.weights.tokenizers import Tokenizer

_REMEMBERED = 64  # encoded texts


@dataclass(frozen=True)
class Encoding:
    """How texts become contexts, besides the model: clip skip, what emphasis does, the comma rule."""

    clip_skip: int = 1
    emphasis: EmphasisMode = "Original"
    comma_backtrack: int = BACKTRACK

    @classmethod
    def of(cls, plan: Plan) -> Encoding:
        return cls(plan.clip_skip, plan.emphasis, plan.comma_backtrack)


@dataclass(frozen=True)
class Conditioning:
    """A prompt, or one branch of it: one context [T,D] for each segment of its schedule."""

    schedule: Schedule
    contexts: tuple[Tensor, ...]

    @property
    def weight(self) -> float:
        return self.schedule.weight

    def at(self, call: int) -> Tensor:
        """Return the context of the network's call number `call`, from 0."""
        return self.contexts[self.schedule.at(call)]


class Prompts:
    """Encodes prompts for one model and remembers the latest texts."""

    def __init__(self, model: Resident) -> None:
        self._model = model
        self._known: OrderedDict[tuple[str, Encoding, torch.dtype], Tensor] = OrderedDict()

    def positive(self, prompt: str, calls: int, encoding: Encoding, behind: int = 0) -> tuple[Conditioning, ...]:
        """Return the branches of `prompt` for a run of `calls` network calls, `behind` such calls of another pass.

        Extra-network tags are no words.
        """
        text, _ = extract(prompt)
        return tuple(self._conditioning(branch, encoding) for branch in schedule(text, calls, behind))

    def negative(self, prompt: str, calls: int, encoding: Encoding, behind: int = 0) -> Conditioning:
        """Return a negative prompt: edits and alternation, but neither `AND` nor tags."""
        return self._conditioning(schedule_single(prompt, calls, behind), encoding)

    def encode(self, text: str, encoding: Encoding) -> Tensor:
        """Return the context [77 · chunks, D] of `text`, on the device, in the network's dtype."""
        key = (text, encoding, self._model.dtype("unet"))
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        context = encode(self._model, text, encoding).to(key[-1])
        self._known[key] = context
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return context

    def _conditioning(self, branch: Schedule, encoding: Encoding) -> Conditioning:
        """Encode each of the branch's texts once. Shorter ones get empty chunks, so all are of one length (A1111)."""
        texts = {segment.text for segment in branch.segments}
        contexts = {text: self.encode(text, encoding) for text in sorted(texts)}
        longest = max(context.shape[0] for context in contexts.values())
        for text, context in contexts.items():
            missing = (longest - context.shape[0]) // (LENGTH + 2)
            if missing:
                contexts[text] = torch.cat([context, *[self.encode("", encoding)] * missing])
        return Conditioning(branch, tuple(contexts[segment.text] for segment in branch.segments))


@torch.inference_mode()
def encode(model: Resident, text: str, encoding: Encoding) -> Tensor:
    """Return the context [77 · chunks, D] of `text`, float32: 75 tokens a chunk between start and end tokens."""
    tokenizer = model.tokenizer
    tokens = weigh_tokens(text, encoding.emphasis, tokenizer.encode)
    chunks = chunk(tokens, tokenizer.comma, encoding.comma_backtrack)
    states = sd1.encode_tokens(model, [_framed(tokenizer, each) for each in chunks], encoding.clip_skip)
    if encoding.emphasis == "Ignore":
        return torch.cat(list(states))
    keeps_mean = encoding.emphasis == "Original"
    weighted = [_emphasise(state, each.weights, keeps_mean) for state, each in zip(states, chunks, strict=True)]
    return torch.cat(weighted)


def _framed(tokenizer: Tokenizer, part: Chunk) -> list[int]:
    """Return the 77 tokens the text encoder was trained on: start, text, then end tokens as padding."""
    return [tokenizer.start, *part.tokens, *[tokenizer.end] * (LENGTH + 1 - len(part.tokens))]


def _emphasise(states: Tensor, weights: tuple[float, ...], keeps_mean: bool) -> Tensor:
    """Return `states` [77,D] multiplied by their tokens' weights; with `keeps_mean` brought back to their old mean.

    Where the mean is next to nothing the ratio of means says nothing either, and the states keep their new one.
    """
    if all(weight == 1 for weight in weights):
        return states
    factors = torch.ones(states.shape[0])
    factors[1 : 1 + len(weights)] = torch.tensor(weights)
    weighted = states * factors.to(states).unsqueeze(1)
    if not keeps_mean:
        return weighted
    old, new = states.mean(), weighted.mean()
    return weighted * torch.where(new.abs() > 1e-3 * weighted.std(), old / new, 1.0)
