"""The models the engine computes with, each with the prompts it has encoded."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from PIL.Image import Image

from webui.domain.events import Loading, Noted
from webui.domain.plan import ModelRef, Plan, SeriesPlan
from webui.engine.conditioning import Prompts
from webui.engine.outfit import Outfit, Wardrobe
from webui.engine.run import Modifier
from webui.engine.upscale import Upscalers
from webui.weights.memory import EngineOptions, JobFacts, ModelCache, Resident
from webui.weights.memory_plan.plan import MemoryPlan
from webui.weights.recognition.identify import identify
from webui.weights.recognition.parts import complete


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to compute, and its prompts."""

    resident: Resident
    prompts: Prompts


class Models:
    """Gives models by reference and loads those that are not in memory.

    `modifiers` are what extensions do to them; `inputs` are the stored pictures of the plan under way, by reference.
    """

    def __init__(
        self, options: EngineOptions, modifiers: Sequence[Modifier] = (), preprocessors: Sequence[Any] = ()
    ) -> None:
        self.modifiers = tuple(modifiers)
        self.preprocessors = tuple(preprocessors)
        self.inputs: Mapping[str, Image] = MappingProxyType({})
        self._notes: list[str] = []
        self.upscalers = Upscalers(options, {name: each for of in modifiers for name, each in of.upscalers.items()})
        self._cache = ModelCache(options)
        self._wardrobe = Wardrobe()
        self._outfit: Outfit | None = None
        self._job: JobFacts | None = None
        self._adapted: set[Resident] = set()  # to the job
        self._prompts: dict[Resident, Prompts] = {}

    @property
    def latest(self) -> tuple[str, Resident] | None:
        """The model that was used last, with its name, if any is in memory."""
        return self._cache.residents[-1] if self._cache.residents else None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the models in memory; the one that was used last comes last."""
        return tuple(name for name, _ in self._cache.residents)

    def holds(self, model: ModelRef) -> bool:
        """Tell whether `model` need not be loaded."""
        return self._cache.holds(model)

    @contextmanager
    def fitted(self, plan: Plan, inputs: Mapping[str, Image]) -> Iterator[None]:
        """Let every model that is taken have the VAE, the TAESD and the seams that `plan` asks for, until the end."""
        self.inputs = inputs
        self._job = JobFacts.of(plan)
        with Outfit(plan, self._wardrobe) as self._outfit:
            try:
                yield
            finally:
                self._outfit = self._job = None
                self._adapted.clear()
                self.inputs = MappingProxyType({})

    def take(self, model: ModelRef) -> Generator[Loading, None, Loaded]:
        """Return `model` and tell when it is loaded; raise `BadFile` when it cannot be."""
        if not self.holds(model):
            yield Loading(model=model.name)
        return self.get(model)

    def get(self, model: ModelRef) -> Loaded:
        """Return `model`; raise `BadFile` when it cannot be loaded."""
        resident = self._cache.use(model) or self._load(model)
        if self._job is not None and resident not in self._adapted:
            self._cache.adapt(resident, self._job)
            self._adapted.add(resident)
        if resident not in self._prompts:
            self._prompts[resident] = Prompts(resident)
        if self._outfit is not None:
            self._outfit.put_on(resident)
        return Loaded(resident, self._prompts[resident])

    def note(self, texts: Sequence[str]) -> None:
        """Remember what extensions tell the user, each sentence once."""
        self._notes.extend(text for text in texts if text not in self._notes)

    def take_notes(self) -> Iterator[Noted]:
        """Yield what extensions said, and what was done for want of memory, since this was asked last."""
        notes, self._notes = self._notes, []
        yield from (Noted(message=note) for note in notes)
        for _, resident in self._cache.residents:
            yield from (Noted(message=f"Too little memory: {note}.") for note in resident.take_notes())

    def predict(self, model: Resident, plan: Plan | SeriesPlan) -> MemoryPlan:
        """Return what `plan` takes with `model`, and what there is."""
        return self._cache.predict(model, JobFacts.of(plan))

    def release(self) -> None:
        """Let go of all models and give their memory back."""
        self._prompts = {}
        self.upscalers.release()
        self._cache.release()

    def _load(self, model: ModelRef) -> Resident:
        # A file that is no checkpoint leaves the others loaded.
        checkpoint = complete(identify(model.path), model.parts, model.tokenizer, eight_bit=model.eight_bit)
        return self._cache.load(model, checkpoint, self._forget_others)

    def _forget_others(self) -> None:
        """Let go of what belongs to models that are no longer kept."""
        kept = {resident for _, resident in self._cache.residents}
        self._prompts = {each: prompts for each, prompts in self._prompts.items() if each in kept}
        self._adapted &= kept
        if self._outfit is not None:
            self._outfit.keep_only(kept)
