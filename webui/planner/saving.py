"""Where images go, and which sheets are made of them."""

from __future__ import annotations

import math

from webui.domain.plan import ImagePlan, SavePlan, SheetPlan
from webui.domain.request import GenerationRequest
from webui.domain.start import FromNoise
from webui.settings import Settings


def plan_saving(request: GenerationRequest, settings: Settings) -> SavePlan:
    """Return folders, names and formats for the images of `request`."""
    from_noise = isinstance(request.start, FromNoise)
    return SavePlan(
        folder=_below(settings.outdir_txt2img if from_noise else settings.outdir_img2img),
        directory=settings.directory_pattern if settings.save_to_dirs else "",
        name=settings.filename_pattern,
        number=settings.number_files,
        prompt_words=settings.prompt_words,
        styles=request.styles,
        typed_prompt=request.prompt,
        format=settings.image_format,
        quality=settings.quality,
        lossless=settings.lossless_webp,
        grid_folder=_below(settings.outdir_txt2img_grids if from_noise else settings.outdir_img2img_grids),
        grid_format=settings.grid_format,
        text=settings.save_text,
    )


def plan_saving_enlarged(settings: Settings) -> SavePlan:
    """Return the same for pictures that are only enlarged."""
    return SavePlan(
        folder=_below(settings.outdir_extras),
        directory="",
        format=settings.image_format,
        quality=settings.quality,
        lossless=settings.lossless_webp,
        text=settings.save_text,
    )


def plan_grid(request: GenerationRequest, settings: Settings, images: tuple[ImagePlan, ...]) -> tuple[SheetPlan, ...]:
    """Return the grid of a job's images, if one is wanted: only for jobs whose images are kept, as in A1111."""
    is_single = len(images) < 2 and settings.grid_only_if_multiple
    if not (request.keep and settings.save_grids) or is_single:
        return ()
    columns = find_columns(len(images), settings, request.batch_size)
    return (SheetPlan(columns=columns, cells=tuple(image.index for image in images)),)


def find_columns(count: int, settings: Settings, batch_size: int) -> int:
    """Return how many columns a grid of `count` images has."""
    if settings.grid_rows > 0:
        rows = min(settings.grid_rows, count)
    elif settings.grid_rows == 0:
        rows = min(batch_size, count)
    elif settings.grid_without_gaps:
        rows = next(rows for rows in range(math.isqrt(count), 0, -1) if count % rows == 0)
    else:
        rows = round(math.sqrt(count))
    return math.ceil(count / rows)


def _below(folder: str) -> str:
    return folder.removeprefix("outputs/")
