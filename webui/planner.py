"""(request, settings, model) → Plan. Pure: everything it needs is handed in, even the random seed."""

from __future__ import annotations

from collections.abc import Callable

from webui.domain.models import ModelInfo
from webui.domain.plan import ImagePlan, InfotextPlan, ModelRef, PicturePlan, Plan, PreviewPlan, SavePlan
from webui.domain.request import MAX_IMAGES, MAX_SEED, GenerationRequest
from webui.domain.sampling import find_sampler, find_schedule, split_combined
from webui.domain.start import FromNoise
from webui.errors import BadFile, BadRequest
from webui.settings import Settings

DEFAULT_SAMPLER = "DPM++ 2M"
DEFAULT_SCHEDULE = "Automatic"
DEFAULT_STEPS = 20
DEFAULT_GUIDANCE = 7.0
DEFAULT_SIZE = 512
MAX_BATCH_PIXELS = 64 * 1024 * 1024  # of one batch: 64 images of 1024×1024


def fill(request: GenerationRequest, settings: Settings, model: ModelInfo | None) -> GenerationRequest:
    """Return the request without blanks (`model` stays blank when there is none to name)."""
    proposed = model.defaults if model else None

    def first(asked: object, name: str, otherwise: object) -> object:
        proposal = getattr(proposed, name, None)
        return next(value for value in (asked, proposal, otherwise) if value is not None)

    sampler, schedule = split_combined(
        str(first(request.sampler, "sampler", DEFAULT_SAMPLER)),
        str(first(request.schedule, "schedule", DEFAULT_SCHEDULE)),
    )
    return request.replace(
        model=model.name if model else request.model,
        sampler=find_sampler(sampler).name,
        schedule=find_schedule(schedule).label,
        steps=first(request.steps, "steps", DEFAULT_STEPS),
        guidance=first(request.guidance, "guidance", DEFAULT_GUIDANCE),
        width=first(request.width, "width", DEFAULT_SIZE),
        height=first(request.height, "height", DEFAULT_SIZE),
        clip_skip=request.clip_skip if request.clip_skip is not None else settings.clip_skip,
    )


def plan(request: GenerationRequest, settings: Settings, model: ModelInfo, draw_seed: Callable[[], int]) -> Plan:
    """Resolve `request` for `model`, whose hash is known.

    Image k of a job has seed + k, so any image can be made again alone. Raises `BadRequest` or `NotFound` for what
    cannot be run.
    """
    if model.family is None or model.sha256 is None:
        raise BadFile(f"Model {model.name!r} cannot be used: {model.problem or 'it could not be identified'}.")
    full = fill(request, settings, model)
    assert full.steps and full.guidance is not None and full.width and full.height and full.clip_skip
    assert full.sampler and full.schedule
    _check_cost(full, full.width * full.height)
    _check_pictures(full)
    total = full.batch_size * full.batch_count
    first_seed = draw_seed() if full.seed == -1 else full.seed
    images = tuple(
        ImagePlan(
            index=index,
            seed=(first_seed + index) % (MAX_SEED + 1),
            prompt=full.prompt,
            negative_prompt=full.negative_prompt,
        )
        for index in range(total)
    )
    return Plan(
        model=ModelRef(name=model.name, path=model.path, family=model.family, layout=model.layout, sha256=model.sha256),
        sampler=full.sampler,
        schedule=full.schedule,
        steps=full.steps,
        guidance=full.guidance,
        width=full.width,
        height=full.height,
        clip_skip=full.clip_skip,
        batch_size=full.batch_size,
        images=images,
        start=full.start,
        picture=PicturePlan(
            exact_steps=settings.img2img_exact_steps, colour_correction=settings.img2img_colour_correction
        ),
        preview=PreviewPlan(every=settings.preview_every if settings.live_previews else 0, size=settings.preview_size),
        infotext=InfotextPlan(
            model_hash=settings.add_model_hash, model_name=settings.add_model_name, version=settings.add_version
        ),
        save=SavePlan(
            folder=_folder(full, settings).removeprefix("outputs/"),
            directory=settings.directory_pattern if settings.save_to_dirs else "",
            name=settings.filename_pattern,
            number=settings.number_files,
            prompt_words=settings.prompt_words,
            text=settings.save_text,
        ),
        keep=full.keep and settings.save_images,
    )


def _folder(request: GenerationRequest, settings: Settings) -> str:
    return settings.outdir_txt2img if isinstance(request.start, FromNoise) else settings.outdir_img2img


def _check_pictures(request: GenerationRequest) -> None:
    """Refuse a number of images in which some pictures would be used more often than others, or never."""
    if isinstance(request.start, FromNoise):
        return
    pictures, total = len(request.start.images), request.batch_size * request.batch_count
    if total % pictures:
        raise BadRequest(
            f"{total} images cannot begin with {pictures} pictures.",
            hint=f"Let batch size × batch count be a multiple of {pictures}.",
            field="batch_count",
        )


def _check_cost(request: GenerationRequest, pixels: int) -> None:
    total = request.batch_size * request.batch_count
    if total > MAX_IMAGES:
        raise BadRequest(
            f"{total} images are too many for one job: at most {MAX_IMAGES}.",
            hint="Lower the batch count and generate again.",
            field="batch_count",
        )
    if pixels * request.batch_size > MAX_BATCH_PIXELS:
        raise BadRequest(
            f"A batch of {request.batch_size} images of {request.width}×{request.height} is too large.",
            hint="Lower the batch size and raise the batch count instead.",
            field="batch_size",
        )
