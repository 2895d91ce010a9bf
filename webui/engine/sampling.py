"""One pass under way: noise, prompts and a model come together in a sampler; a refiner may take over on the way."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from webui.domain.events import Loading
from webui.domain.models import EDITING
from webui.domain.plan import ModelRef, RefinerPlan
from webui.domain.sampling import find_sampler
from webui.engine import families, samplers, starts
from webui.engine.broken import sample_twice
from webui.engine.condition import Encoding
from webui.engine.denoise import Denoise, NoiseLevels, make_denoiser
from webui.engine.guidance import Shaping, guide, needs_negative
from webui.engine.inpainting import see_beside
from webui.engine.models import Loaded, Models
from webui.engine.noise import NoiseSource, Origin
from webui.engine.passes import Pass
from webui.engine.patience import denoise_patiently
from webui.engine.run import Modifier, Run, active, blaming, wrap_denoise, wrap_guidance
from webui.engine.samplers import Sampler, Setup, Step
from webui.engine.schedules import find_sigmas
from webui.errors import GenerationError
from webui.weights.memory import Resident

Offer = TypeVar("Offer")


@dataclass(frozen=True)
class _Active:
    """The model that denoises now, and its guided denoiser."""

    loaded: Loaded
    denoise: Denoise


class Sampling:
    """The run of one pass.

    Nothing else refers to the models meanwhile: where memory has no room for two, the first one goes before the
    refiner comes.
    """

    def __init__(self, of: Pass, loaded: Loaded, models: Models) -> None:
        """`loaded` is the model of the pass."""
        self._pass = of
        self._models = models
        self._sampler = find_sampling(of, models.modifiers)
        self._family = families.find(of.model.family)
        levels = self._family.noise_levels(loaded.resident, (of.width, of.height))
        self._trained = levels.planned(of.schedule_steps)
        self._levels = self._sampler.levels(self._trained)
        self._schedule = find_levels(of, models.modifiers, self._levels)
        self._sigmas = self._schedule[min(of.schedule_steps - of.steps, len(self._schedule) - 2) :]
        self._refiner = of.refiner
        self._active: _Active | None = None
        self._run: Run | None = None
        self._open = ExitStack()
        self._calls = 0
        self._unguided: deque[Tensor] = deque(maxlen=1)

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return len(self._sigmas) - 1

    @property
    def model(self) -> Resident:
        """The model that denoises now, once the first step is done."""
        assert self._active is not None
        return self._active.loaded.resident

    @property
    def reference(self) -> ModelRef:
        """What that model is."""
        refiner = self._pass.refiner
        return refiner.model if refiner is not None and self._refiner is None else self._pass.model

    def run(self) -> Iterator[Step | Loading]:
        """Yield the steps, and before the one in which the refiner has to be loaded, that it is."""
        yield from self._announce(0)
        for step in sample_twice(lambda: self.model, self._sample):
            yield step
            yield from self._announce(step.index + 1)

    def _announce(self, index: int) -> Iterator[Loading]:
        if self._refiner is None or self._models.holds(self._refiner.model):
            return
        calls = find_sampler(self._pass.sampler).calls_per_step
        sigmas = self._sigmas[:-1][index : index + calls]
        if any(is_reached(self._refiner, sigma, self._trained) for sigma in sigmas):
            yield Loading(model=self._refiner.model.name)

    @torch.inference_mode()
    def _sample(self) -> Iterator[Step]:
        """Yield the steps from the first one on."""
        self._active, self._run, self._refiner, self._calls = None, None, self._pass.refiner, 0
        with ExitStack() as self._open:
            begin, noise = self._begin()
            self._active = self._activate(self._pass.model, begin.latents)
            denoise = begin.wrap(self._denoise, self._sigmas)
            yield from self._sampler.sample(denoise, begin.latents, self._sigmas, noise, self._setup())

    def _begin(self) -> tuple[starts.Begin, NoiseSource]:
        model = self._models.get(self._pass.model).resident
        noise = self._noise_source(model)
        first = noise.begin()
        if self._pass.enlarged is None:
            canvases = self._pass.canvases
            begin = starts.begin(model, self._pass.plan, canvases, first, self._sampler, self._sigmas[0], self._levels)
            return begin, noise
        extra = self._pass.plan.picture.extra_noise
        return starts.Begin(self._levels.noised(self._pass.enlarged, first, self._sigmas[0], extra)), noise

    def _denoise(self, latents: Tensor, sigma: float) -> Tensor:
        if self._refiner is not None and is_reached(self._refiner, sigma, self._trained):
            self._hand_over(self._refiner, latents)
        assert self._active is not None
        self._calls += 1
        assert self._run is not None
        self._run.count(self._calls - 1)
        denoised = self._active.denoise(latents, sigma)
        self._models.note(self._run.take_notes())
        return denoised

    def _hand_over(self, refiner: RefinerPlan, latents: Tensor) -> None:
        self._open.close()
        self._refiner = self._active = self._run = None
        self._active = self._activate(refiner.model, latents)

    def _activate(self, reference: ModelRef, latents: Tensor) -> _Active:
        """Return a model ready to denoise `latents` [B,C,h,w] and their like, under the prompts of the pass."""
        of = self._pass
        loaded = self._models.get(reference)
        family = families.find(reference.family)
        trained = family.noise_levels(loaded.resident, (of.width, of.height)).planned(of.schedule_steps)
        run = self._run_of(reference, loaded.resident, trained)
        self._enter_patches(run)
        guidance = of.guidance * self._sampler.guidance_share
        edits = loaded.resident.checkpoint.variant == EDITING
        options = of.plan.guiding if edits else of.plan.guiding.replace(image=None)
        encoding = Encoding.of(of.plan)
        positive = [loaded.prompts.positive(text, of.calls, encoding, of.behind) for text, _ in of.prompts]
        negative = (
            [loaded.prompts.negative(text, of.calls, encoding, of.behind) for _, text in of.prompts]
            if needs_negative(positive, guidance, options.image)
            else []
        )
        height, width = latents.shape[-2:]
        model = loaded.resident
        beside = see_beside(model, of.plan, of.canvases, len(of.images), (height, width))
        levels = self._sampler.levels(trained)
        network = self._open.enter_context(model.on_device(model.denoiser))
        predict = family.make_predict(model, network)
        denoise = make_denoiser(predict, levels, self._sigmas, model.placement.device, latents.shape[1])
        denoise = denoise_patiently(run.telling(denoise), model)
        shaping = Shaping(options, self._sigmas, levels, families.find_limit(reference.family))
        modifiers = active(self._models.modifiers, of.plan)
        guided = guide(
            denoise,
            positive,
            negative,
            guidance,
            self._unguided.append,
            shaping,
            beside,
            count=self._count,
            wrap=lambda combine: wrap_guidance(combine, modifiers, run),
        )
        self._run = run
        return _Active(loaded, wrap_denoise(guided, modifiers, run))

    def _count(self) -> int:
        """Return the number of the call under way."""
        return self._calls - 1

    def _run_of(self, reference: ModelRef, model: Resident, trained: NoiseLevels) -> Run:
        of = self._pass
        return Run(
            plan=of.plan,
            facts={},
            model=model,
            family=reference.family,
            images=of.images,
            width=of.width,
            height=of.height,
            is_second=of.enlarged is not None,
            inputs=self._models.inputs,
            preprocessors=self._models.preprocessors,
            sigmas=self._sigmas,
            levels=trained,
            canvases=of.canvases,
        )

    def _enter_patches(self, run: Run) -> None:
        for modifier in active(self._models.modifiers, self._pass.plan):
            for patch in modifier.patches:
                with blaming(modifier.name):
                    self._open.enter_context(patch(run.of(modifier.name)))

    def _setup(self) -> Setup:
        options = self._pass.sampling
        return Setup(
            eta=options.eta or 0.0,
            churn=options.churn,
            tmin=options.tmin,
            tmax=options.tmax or math.inf,
            noise=options.noise,
            levels=self._levels,
            unguided=self._unguided,
        )

    def _noise_source(self, model: Resident) -> NoiseSource:
        of, variation = self._pass, self._pass.plan.variation
        size = self._family.latent_shape(*variation.resize_from)[1:] if variation.resize_from else None
        uses_delta = find_sampler(of.sampler).uses_seed_delta and of.sampling.eta
        return NoiseSource(
            [Origin(image.seed, image.variation_seed or 0, variation.strength, size) for image in of.images],
            self._family.latent_shape(of.width, of.height),
            model.placement.place,
            source=of.sampling.noise_source,
            device=model.placement.device,
            seed_delta=of.sampling.seed_delta if uses_delta else 0,
            path_range=(min(sigma for sigma in self._schedule if sigma > 0), max(self._schedule)),
        )


def find_sampling(of: Pass, modifiers: Sequence[Modifier]) -> Sampler:
    """Return the sampler of a pass: the plan's, or that of an extension which stands in for it."""
    sampler, name = samplers.find(of.sampler), of.plan.extra.sampler
    if not name or of.sampler != of.plan.sampler:
        return sampler
    return replace(sampler, sample=_offered({n: s for each in modifiers for n, s in each.samplers.items()}, name))


def find_levels(of: Pass, modifiers: Sequence[Modifier], levels: NoiseLevels) -> list[float]:
    """Return the noise levels of the whole schedule of a pass, from pure noise down to 0."""
    name = of.plan.extra.schedule
    if not name or of.schedule != of.plan.schedule:
        return find_sigmas(of.sampler, of.schedule, of.schedule_steps, levels, of.sampling, of.model.family)
    schedule = _offered({n: s for each in modifiers for n, s in each.schedules.items()}, name)
    sigmas = [float(sigma) for sigma in schedule(of.schedule_steps, levels.lowest, levels.highest)]
    falls = all(high > low > 0 for high, low in itertools.pairwise(sigmas))
    if len(sigmas) != of.schedule_steps or not falls:
        raise GenerationError(
            f"Schedule {name!r} gives no {of.schedule_steps} falling noise levels.", hint="Choose another schedule."
        )
    return [*sigmas, 0.0]


def _offered(offers: Mapping[str, Offer], name: str) -> Offer:
    if name not in offers:
        raise GenerationError(f"There is no {name!r} any more.", hint="Its extension failed; see the log.")
    return offers[name]


def is_reached(refiner: RefinerPlan, sigma: float, levels: NoiseLevels) -> bool:
    """Tell whether at `sigma` the share of `levels` that belongs to the first model is left behind.

    The levels are those the first model was trained on; `sigma` counts as the nearest of them (A1111 since 1.9).
    """
    below = int(levels.position(sigma))
    above = min(below + 1, levels.count - 1)
    nearest = below if sigma - levels.sigma(below) <= levels.sigma(above) - sigma else above
    return (levels.count - 1 - nearest) / levels.count >= refiner.switch_at
