"""Models of no family of ours, run by diffusers' own pipelines: a picture at a time, watched step by step.

A pipeline gives no hand back before its picture is done, so it runs in a thread that waits at every step until what it
drew was looked at.
"""

from __future__ import annotations

import inspect
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from webui.domain.events import ImageSkipped, Loading, Stepped
from webui.domain.plan import ImagePlan, ModelRef, Plan
from webui.engine import previews
from webui.engine.control import Control
from webui.engine.generate import ImageReady, Output, PreviewImage
from webui.engine.latent_pictures import show
from webui.errors import BadRequest
from webui.prompt.attention import Piece, parse
from webui.prompt.tags import extract
from webui.weights.checkpoint import count_parameters
from webui.weights.loading.pipelines import LoadedPipeline, Seen, Watch, load_pipeline
from webui.weights.memory import EngineOptions, Placement, free_unused
from webui.weights.memory.pipelines import place_pipeline, settle_pipeline
from webui.weights.recognition.identify import identify

Call = Callable[[], Any]


@dataclass(frozen=True)
class Kept:
    """A pipeline in memory, and where it computes."""

    model: ModelRef
    loaded: LoadedPipeline
    placement: Placement


class Pipelines:
    """Keeps the pipeline that was used last."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._kept: Kept | None = None

    @property
    def latest(self) -> Kept | None:
        return self._kept

    def holds(self, model: ModelRef) -> bool:
        """Tell whether `model` need not be loaded."""
        return self._kept is not None and self._kept.model == model

    def get(self, model: ModelRef) -> Kept:
        """Return `model`; raise `BadFile` when it cannot be loaded."""
        if self._kept is None or self._kept.model != model:
            checkpoint = identify(model.path)
            placement = place_pipeline(self._options, checkpoint)
            self.release()
            loaded = load_pipeline(checkpoint, next(iter(placement.dtypes.values())))
            settle_pipeline(loaded.pipeline, placement)
            self._kept = Kept(model, loaded, placement)
        return self._kept

    def release(self) -> None:
        """Let go of the pipeline, if there is one, and give its memory back."""
        if self._kept is not None:
            self._kept = None
            free_unused()

    def facts(self) -> dict[str, object]:
        """Return what there is to know about the pipeline in memory: name, memory mode, dtypes, bytes of weights."""
        if self._kept is None:
            return {}
        loaded, placement = self._kept.loaded, self._kept.placement
        dtype = str(loaded.dtype).removeprefix("torch.")
        parameters = sum(count_parameters(loaded.checkpoint, part) for part in loaded.checkpoint.components)
        return {
            "model": self._kept.model.name,
            "models": (self._kept.model.name,),
            "weights": parameters * loaded.dtype.itemsize,
            "memory_mode": placement.mode,
            "dtypes": dict.fromkeys(loaded.checkpoint.components, dtype),
            "dtype": dtype,
        }


def generate_by_pipeline(plan: Plan, pipelines: Pipelines, control: Control) -> Iterator[Output]:
    """Yield what happens while `plan` is carried out by the pipeline of its model.

    An interrupted image is yielded as far as it has come, where its latents can be shown, and the plan ends there.
    """
    if not pipelines.holds(plan.model):
        yield Loading(model=plan.model.name)
    kept = pipelines.get(plan.model)
    for number, (image,) in enumerate(plan.batches):
        if control.interrupted:
            return
        control.skipped = False
        yield from _draw(plan, number, image, kept, control)


def _draw(plan: Plan, number: int, image: ImagePlan, kept: Kept, control: Control) -> Iterator[Output]:
    """Yield what happens while one image is drawn, and the image."""
    asked = ask(kept.loaded, plan, image)
    total = _count_steps(kept.loaded, asked)
    steps, done, seen = _follow(lambda: _call(kept.loaded, asked, image.seed), kept.loaded.watch), 0, None
    try:
        while True:
            seen, done = next(steps), done + 1
            total = max(total, done + seen.steps - seen.step)
            yield Stepped(batch=number, batches=len(plan.batches), step=done, steps=total)
            if control.interrupted or control.skipped:
                break
            yield from _preview(plan, kept, seen, done, total)
    except StopIteration as end:
        yield ImageReady(image.index, end.value.images[0].convert("RGB"))
        return
    finally:
        steps.close()
        if kept.placement.mode != "normal":
            kept.loaded.pipeline.maybe_free_model_hooks()
    yield from _stopped(image, kept, seen, control)


def _preview(plan: Plan, kept: Kept, seen: Seen, done: int, total: int) -> Iterator[PreviewImage]:
    whole = plan.preview.method == "Full"
    if not previews.is_due(done, total, plan.preview.every) or (kept.placement.mode != "normal" and not whole):
        return
    picture = show(kept.loaded.pipeline, seen.denoised, whole=whole)
    if picture is not None:
        picture.thumbnail((plan.preview.size, plan.preview.size))
        yield PreviewImage(picture)


def _stopped(image: ImagePlan, kept: Kept, seen: Seen, control: Control) -> Iterator[Output]:
    """Yield what is left of an image whose drawing was stopped after the step `seen`."""
    if control.skipped and not control.interrupted:
        yield ImageSkipped(index=image.index)
        return
    picture = show(kept.loaded.pipeline, seen.denoised, whole=True)
    if picture is not None:
        yield ImageReady(image.index, picture)


def ask(loaded: LoadedPipeline, plan: Plan, image: ImagePlan) -> dict[str, Any]:
    """Return what the pipeline is called with; raise `BadRequest` for a class that it does not know."""
    info = loaded.info
    asked: dict[str, Any] = {info.steps: plan.steps, "generator": torch.Generator().manual_seed(image.seed)}
    if info.guidance:
        asked[info.guidance] = plan.guidance
    if info.sized:
        asked |= {"width": plan.width, "height": plan.height}
    if info.negative and image.negative_prompt:
        asked["negative_prompt"] = words_of(image.negative_prompt)
    if info.reads == "text":
        asked["prompt"] = words_of(image.prompt)
    elif info.reads == "class":
        asked |= _class(loaded, words_of(image.prompt).strip())
    return asked


def words_of(prompt: str) -> str:
    """Return a prompt without tags and the brackets of emphasis: these pipelines would read them as words."""
    text, _ = extract(prompt)
    return "".join(piece.text if isinstance(piece, Piece) else " " for piece in parse(text))


def _class(loaded: LoadedPipeline, text: str) -> dict[str, Any]:
    """Return the class that a prompt names, by its number or its name."""
    names: Mapping[str, int] = getattr(loaded.pipeline, "labels", {})
    number = int(text) if text.isdecimal() else names.get(text)
    if number is not None and number < _count_classes(loaded):
        return {"class_labels": [number]}
    if not text and "class_labels" not in _required(loaded):
        return {}
    some = ", ".join(sorted(names)[:5])
    raise BadRequest(
        f"{loaded.info.words} draws classes, and none is called {text[:60]!r}.",
        hint=f"Write a class's number or its name as the prompt{f': {some}, …' if some else ''}.",
        field="prompt",
    )


def _count_classes(loaded: LoadedPipeline) -> int:
    networks = [loaded.checkpoint.configs[part] for part in ("unet", "transformer") if part in loaded.checkpoint.parts]
    return int(networks[0].get("num_class_embeds") or networks[0].get("num_embeds_ada_norm") or 0)


def _required(loaded: LoadedPipeline) -> set[str]:
    parameters = inspect.signature(type(loaded.pipeline).__call__).parameters
    return {name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty}


def _count_steps(loaded: LoadedPipeline, asked: Mapping[str, Any]) -> int:
    """Return how many steps all stages take together, as far as it is known before they begin."""
    parameters = inspect.signature(type(loaded.pipeline).__call__).parameters
    stages = [name for name in parameters if name.endswith("num_inference_steps")]
    return sum(asked.get(name) or parameters[name].default for name in stages)


@torch.inference_mode(False)
def _call(loaded: LoadedPipeline, asked: Mapping[str, Any], seed: int) -> Any:
    """Return what the pipeline draws. What it draws at random without being given a generator follows the seed too."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            return loaded.pipeline(**asked)
        except (ValueError, TypeError) as error:
            raise BadRequest(f"{loaded.info.words} refused: {error}") from error


class _Stop(BaseException):
    """Ends the pipeline's run from within a step; no `except Exception` in between holds it up."""


def _follow(call: Call, watch: Watch) -> Generator[Seen, None, Any]:
    """Yield every step of `call()`, which waits until it was looked at, and return the result. Closing ends the run."""
    told: queue.SimpleQueue[Seen | BaseException | tuple[Any]] = queue.SimpleQueue()
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def look(seen: Seen) -> None:
        told.put(seen)
        if not answers.get():
            raise _Stop

    def work() -> None:
        try:
            with watch.looking(look):
                told.put((call(),))
        except BaseException as error:  # whatever it is, it is raised again where it was waited for
            told.put(error)

    thread = threading.Thread(target=work, name="pipeline")
    thread.start()
    try:
        while isinstance(happened := told.get(), Seen):
            go_on = False
            try:
                yield happened
                go_on = True
            finally:
                answers.put(go_on)
    finally:
        thread.join()
    if isinstance(happened, BaseException):
        raise happened
    return happened[0]
