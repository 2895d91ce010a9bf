"""What extensions are told, and may change, while a model denoises: the one seam between them and the engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from PIL.Image import Image
from torch import Tensor, nn
from typing_extensions import ParamSpec

from webui.domain.models import Family
from webui.domain.plan import ImagePlan, Plan
from webui.engine.condition import Condition, Row
from webui.engine.denoise import Denoise, DenoiseGiven, NoiseLevels
from webui.engine.guidance import Combine
from webui.engine.samplers import Sample
from webui.errors import EaselError, GenerationError
from webui.images.canvas import Canvas
from webui.weights.memory import Resident, is_out_of_memory

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Moment:
    """What the network is being asked: its call number `call` of the pass, at noise level `sigma`, in step `step` (from
    0) of `steps`, for one of `rows` in each row of its batch."""

    call: int
    sigma: float
    step: int
    steps: int
    rows: tuple[Row, ...]

    @property
    def progress(self) -> float:
        """The share of the steps that is done, 0 … 1."""
        return self.step / self.steps


@dataclass
class _Now:
    """What changes while a run goes on."""

    call: int = 0
    moment: Moment | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Run:
    """One model while it denoises one batch of a pass, for one extension.

    `facts` are what the extension put into the plan. The pictures become `width` × `height` pixels; `is_second`: in the
    hires pass. `inputs` are stored pictures by reference, `sigmas` the noise levels that are gone through, `canvases`
    what the images of this pass begin with, if they begin with pictures. `preprocessors` are those of all extensions.
    """

    plan: Plan
    facts: Mapping[str, Any]
    model: Resident
    family: Family
    images: Sequence[ImagePlan]
    width: int
    height: int
    is_second: bool
    inputs: Mapping[str, Image]
    sigmas: Sequence[float]
    levels: NoiseLevels
    preprocessors: Sequence[Any] = ()
    canvases: Sequence[Canvas] = ()
    _now: _Now = field(default_factory=_Now, repr=False)

    def of(self, name: str) -> Run:
        """Return the same run for the extension `name`."""
        return replace(self, facts=self.plan.extensions.get(name, {}))

    @property
    def moment(self) -> Moment:
        """What the network is being asked; there is one from the first call on."""
        assert self._now.moment is not None
        return self._now.moment

    @property
    def step(self) -> int:
        """The step that is under way, from 0; known outside the network's calls as well."""
        return 0 if self._now.moment is None else self._now.moment.step

    @property
    def network(self) -> nn.Module:
        """The denoiser: the same object until the run ends."""
        return self.model.network(self.model.denoiser)

    @property
    def dtype(self) -> torch.dtype:
        """The precision the denoiser computes in."""
        return self.model.dtype(self.model.denoiser)

    def place(self, tensor: Tensor) -> Tensor:
        """Return `tensor` on the device that the model computes on."""
        return self.model.place(tensor)

    @contextmanager
    def lodge(self, name: str, network: nn.Module) -> Iterator[nn.Module]:
        """Give `network`, which is on the CPU, a place on the device beside the model while the block runs.

        `name` is its own, no component of the model.
        """
        before = None
        try:
            before = self.model.exchange(name, network)
            with self.model.on_device(name):
                yield network
        finally:
            self.model.exchange(name, before)

    def note(self, text: str) -> None:
        """Tell the user a sentence about this job."""
        self._now.notes.append(text)

    def take_notes(self) -> list[str]:
        """Return what was noted since this was asked last."""
        notes, self._now.notes = self._now.notes, []
        return notes

    def count(self, call: int) -> None:
        """Let the calls of the network from now on be those of number `call`."""
        self._now.call = call

    def step_at(self, sigma: float) -> int:
        """Return the step that begins at the noise level `sigma`, or around it."""
        last = max(len(self.sigmas) - 2, 0)
        return min(sum(level >= sigma for level in self.sigmas[1:]), last)

    def telling(self, denoise: DenoiseGiven) -> DenoiseGiven:
        """Return `denoise`, which says before each call what it is: see `moment`."""
        steps = max(len(self.sigmas) - 1, 1)

        def told(latents: Tensor, sigma: float, condition: Condition) -> Tensor:
            self._now.moment = Moment(self._now.call, sigma, self.step_at(sigma), steps, condition.rows)
            return denoise(latents, sigma, condition)

        return told


Patch = Callable[[Run], AbstractContextManager[None]]
WrapDenoise = Callable[[Denoise, Run], Denoise]
WrapGuidance = Callable[[Combine, Run], Combine]
Paint = Callable[..., Image]


@dataclass(frozen=True, eq=False)
class ImageRun:
    """One finished image, for one extension; `facts` are what it put into the plan.

    `paint(picture, mask, **changes)` samples what is white in `mask` once more, with the plan's model and `changes` to
    the plan such as `prompt`, `negative_prompt`, `strength`, `width`, `height`, `padding`, `mask_blur`, `steps`,
    `guidance`, `sampler`, `seed`, and returns the picture with it. Extensions named in `without` do not act on it.
    """

    plan: Plan
    facts: Mapping[str, Any]
    image: ImagePlan
    inputs: Mapping[str, Image]
    paint: Paint
    note: Callable[[str], None]


ChangeImage = Callable[[Image, ImageRun], Image]


@dataclass(frozen=True)
class Modifier:
    """What one extension does in the worker. It acts on plans alone that hold facts of its `name`."""

    name: str
    patches: tuple[Patch, ...] = ()
    wraps: tuple[WrapDenoise, ...] = ()
    guidance: tuple[WrapGuidance, ...] = ()
    image_changes: tuple[ChangeImage, ...] = ()
    samplers: Mapping[str, Sample] = field(default_factory=dict)
    schedules: Mapping[str, Callable[[int, float, float], Sequence[float]]] = field(default_factory=dict)
    upscalers: Mapping[str, Callable[[Image, int, int], Image]] = field(default_factory=dict)


def active(modifiers: Sequence[Modifier], plan: Plan) -> tuple[Modifier, ...]:
    """Return those of `modifiers` that act on `plan`, in the order the plan names them.

    Raises `GenerationError` when one is not there: without it the picture would be another.
    """
    known = {modifier.name: modifier for modifier in modifiers}
    for name in plan.extensions:
        if name not in known:
            raise GenerationError(
                f"Extension {name} is not there any more.", hint="It failed in the worker, or was switched off."
            )
    return tuple(known[name] for name in plan.extensions)


@contextmanager
def blaming(name: str) -> Iterator[None]:
    """Let what goes wrong inside be told as the fault of the extension `name`, unless the error says what is wrong."""
    try:
        yield
    except EaselError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise GenerationError(
            f"Extension {name} failed: {type(error).__name__}: {error}",
            hint="Switch it off, or see the log for its author.",
        ) from error


def wrap_denoise(denoise: Denoise, modifiers: Sequence[Modifier], run: Run) -> Denoise:
    """Return the guided denoiser as all `modifiers` change it; the last one is outermost."""
    for modifier in modifiers:
        for wrap in modifier.wraps:
            with blaming(modifier.name):
                denoise = _blamed(wrap(_innocent(denoise), run.of(modifier.name)), modifier.name)
    return denoise


def wrap_guidance(combine: Combine, modifiers: Sequence[Modifier], run: Run) -> Combine:
    """Return how predictions are combined as all `modifiers` change it; the last one is outermost."""
    for modifier in modifiers:
        for wrap in modifier.guidance:
            with blaming(modifier.name):
                combine = _blamed(wrap(_innocent(combine), run.of(modifier.name)), modifier.name)
    return combine


def _blamed(function: Callable[Arguments, Result], name: str) -> Callable[Arguments, Result]:
    """Return `function` of the extension `name`, whose errors say so."""

    def blamed(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        with blaming(name):
            return function(*arguments, **named)

    return blamed


def _innocent(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Return `function`, for whose errors the extension that calls it is not to blame."""

    def innocent(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        try:
            return function(*arguments, **named)
        except EaselError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            log.exception("The run failed.")
            raise GenerationError(f"The engine failed: {type(error).__name__}: {error}") from error

    return innocent
