"""One plan from prompt to pictures, in a straight line: first pass, enlarge, second pass, decode."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from webui.domain.events import ImageFailed, ImageSkipped, Loading, Noted, Stepped
from webui.domain.plan import HiresPlan, ImagePlan, ModelRef, Plan
from webui.engine import hires, previews
from webui.engine.control import Control
from webui.engine.models import Models
from webui.engine.passes import Pass, first_pass, second_pass
from webui.engine.sampling import Sampling
from webui.engine.upscale import upscale
from webui.engine.vae import decode
from webui.errors import GenerationError
from webui.images.canvas import Canvas, prepare


@dataclass(frozen=True)
class PreviewImage:
    """The first image of the running batch as far as it has come, at most the plan's preview size."""

    image: Image.Image


@dataclass(frozen=True)
class ImageReady:
    """Image `index` of the plan."""

    index: int
    image: Image.Image


Output = Loading | Stepped | PreviewImage | ImageReady | ImageSkipped | ImageFailed | Noted


@dataclass(frozen=True)
class Batch:
    """Images that are computed together, and the pictures they begin with, if they do; batch `number` of the plan."""

    plan: Plan
    images: Sequence[ImagePlan]
    canvases: Sequence[Canvas] = ()
    number: int = 0


@dataclass(frozen=True)
class Drawn:
    """Finished latents [B,C,h,w], or what the network made of unfinished ones; the model that made them, the steps it
    took, and the size of their pictures (width and height)."""

    latents: Tensor
    model: ModelRef
    steps: int
    size: tuple[int, int]


def generate(plan: Plan, models: Models, control: Control, inputs: Mapping[str, Image.Image]) -> Iterator[Output]:
    """Yield what happens while `plan` is carried out; `inputs` are the pictures it begins with, by reference.

    An interrupted batch yields its images as far as they have come, and the plan ends there. A skipped batch yields
    `ImageSkipped` for each image, and the next one begins.
    """
    for number, images in enumerate(plan.batches):
        if control.interrupted:
            return
        control.skipped = False
        canvases = [canvas for image in images if (canvas := prepare(plan, image, inputs)) is not None]
        batch = Batch(plan, images, canvases, number)
        drawn = yield from draw(batch, models, control)
        if control.skipped and not control.interrupted:
            yield from (ImageSkipped(index=image.index) for image in images)
        elif drawn is not None:
            yield from _decode(batch, drawn, models)


def draw(batch: Batch, models: Models, control: Control) -> Generator[Output, None, Drawn | None]:
    """Carry out the passes of one batch and return what the last one drew.

    Stopped before the second, it returns what the first drew, None if a finished picture stands for it.
    """
    plan, drawn = batch.plan, None
    if not plan.begins_with_second_pass:
        ahead = plan.hires.steps if plan.hires else 0
        first = first_pass(plan, batch.images, batch.canvases)
        drawn = yield from _run(first, batch, models, control, ahead=ahead)
    if plan.hires is None or control.interrupted or control.skipped:
        return drawn
    enlarged = yield from _enlarge(batch, plan.hires, drawn, models, control)
    if enlarged is None:
        return drawn
    second = second_pass(plan, plan.hires, batch.images, enlarged)
    return (yield from _run(second, batch, models, control, behind=drawn.steps if drawn else 0))


def _run(
    each: Pass, batch: Batch, models: Models, control: Control, *, behind: int = 0, ahead: int = 0
) -> Generator[Output, None, Drawn]:
    """Carry out one pass, with so many steps behind and ahead of it, and return what it drew."""
    plan = batch.plan
    sampling = Sampling(each, (yield from models.take(each.model)), models)
    total = behind + sampling.steps + ahead
    for happened in sampling.run():
        if isinstance(happened, Loading):
            yield happened
            continue
        step, done = happened, behind + happened.index + 1
        yield Stepped(batch=batch.number, batches=len(plan.batches), step=done, steps=total)
        if control.interrupted or control.skipped:
            break
        if previews.is_due(done, total, plan.preview.every):
            preview = previews.render(sampling.model, step.denoised, plan.preview, (each.width, each.height))
            if preview is not None:
                yield PreviewImage(preview)
    latents = step.latents if step.index + 1 == sampling.steps else step.denoised
    return Drawn(latents, sampling.reference, step.index + 1, (each.width, each.height))


def _enlarge(
    batch: Batch, plan: HiresPlan, drawn: Drawn | None, models: Models, control: Control
) -> Generator[Output, None, Tensor | None]:
    """Return the latents that the second pass begins with: `drawn` enlarged, or else the batch's pictures.

    None when it was stopped.
    """
    if drawn is not None and plan.upscaler.kind == "latent":
        return hires.enlarge_latents(drawn.latents, plan, drawn.model.family)
    pictures: list[Image.Image | None] = [canvas.picture for canvas in batch.canvases]
    if drawn is not None:
        pictures = _pictures(drawn, models)
    if not models.upscalers.holds(plan.upscaler):
        yield Loading(model=plan.upscaler.name)
    for number, picture in enumerate(pictures):
        if picture is not None and plan.upscaler.kind != "latent":
            pictures[number] = upscale(picture, plan.upscaler, *plan.enlarged, models.upscalers, control)
    if control.interrupted or control.skipped:
        return None
    second = yield from models.take(plan.model or batch.plan.model)
    return hires.encode_pictures(pictures, plan, second.resident)


def _pictures(drawn: Drawn, models: Models) -> list[Image.Image | None]:
    """Return the pictures of a pass, None for those that are broken."""
    pictures: list[Image.Image | None] = []
    for latents in drawn.latents:
        try:
            pictures.append(decode(models.get(drawn.model).resident, latents, size=drawn.size))
        except GenerationError:
            pictures.append(None)
    return pictures


def _decode(batch: Batch, drawn: Drawn, models: Models) -> Iterator[ImageReady | ImageFailed]:
    """Yield the pictures of one batch, each image that cannot be decoded as failed."""
    for number, (image, latents) in enumerate(zip(batch.images, drawn.latents, strict=True)):
        try:
            picture = decode(models.get(drawn.model).resident, latents, size=drawn.size)
        except GenerationError as error:
            yield ImageFailed(index=image.index, message=error.message, hint=error.hint)
            continue
        yield ImageReady(image.index, batch.canvases[number].finish(picture) if batch.canvases else picture)
