"""(request, settings, model) → Plan. Pure: everything it needs is handed in, even the random seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from webui.domain.models import ModelInfo
from webui.domain.plan import (
    ImagePlan,
    InfotextPlan,
    ModelRef,
    PicturePlan,
    Plan,
    PreviewPlan,
    SamplingPlan,
    SavePlan,
    VariationPlan,
)
from webui.domain.request import MAX_IMAGES, GenerationRequest
from webui.domain.sampling import SamplerInfo, find_sampler, find_schedule, split_combined
from webui.domain.sampling_options import MAX_SEED, SamplingOptions, Variation
from webui.domain.start import FromNoise
from webui.errors import BadFile, BadRequest
from webui.prompt.comments import strip_comments
from webui.prompt.dynamic import DynamicPrompts, Lookup
from webui.prompt.grammar import count_branches
from webui.prompt.styles import Style
from webui.prompt.styles import apply as apply_styles
from webui.prompt.styles import find as find_style
from webui.prompt.tags import extract as extract_tags
from webui.settings import Settings

DEFAULT_SAMPLER = "DPM++ 2M"
DEFAULT_SCHEDULE = "Automatic"
DEFAULT_STEPS = 20
DEFAULT_GUIDANCE = 7.0
DEFAULT_SIZE = 512
MAX_BRANCHES = 64  # joined by AND in one prompt
MAX_BATCH_PIXELS = 64 * 1024 * 1024  # of one batch: 64 images of 1024×1024


@dataclass(frozen=True)
class Words:
    """What prompts refer to by name: styles, and the lines of wildcards."""

    styles: Mapping[str, Style] = field(default_factory=lambda: MappingProxyType({}))
    wildcards: Lookup = lambda name: ()


NO_WORDS = Words()


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
        emphasis=request.emphasis if request.emphasis is not None else settings.emphasis,
    )


def plan(
    request: GenerationRequest,
    settings: Settings,
    model: ModelInfo,
    draw_seed: Callable[[], int],
    words: Words = NO_WORDS,
) -> Plan:
    """Resolve `request` for `model`, whose hash is known. `words` are what its prompts refer to by name.

    Image k of a job has seed + k, so any image can be made again alone. Raises `BadRequest` or `NotFound` for what
    cannot be run.
    """
    if model.family is None or model.sha256 is None:
        raise BadFile(f"Model {model.name!r} cannot be used: {model.problem or 'it could not be identified'}.")
    full = fill(request, settings, model)
    assert full.steps and full.guidance is not None and full.width and full.height and full.clip_skip
    assert full.sampler and full.schedule and full.emphasis
    _check_cost(full, full.width * full.height)
    _check_pictures(full)
    total = full.batch_size * full.batch_count
    first_seed = draw_seed() if full.seed == -1 else full.seed
    variation = full.variation or Variation()
    if variation.strength and variation.seed == -1:
        variation = variation.replace(seed=draw_seed())
    images = tuple(_plan_images(full.replace(variation=variation), settings, words, first_seed, total))
    return Plan(
        model=ModelRef(name=model.name, path=model.path, family=model.family, layout=model.layout, sha256=model.sha256),
        sampler=full.sampler,
        schedule=full.schedule,
        steps=full.steps,
        guidance=full.guidance,
        width=full.width,
        height=full.height,
        clip_skip=full.clip_skip,
        emphasis=full.emphasis,
        comma_backtrack=settings.comma_backtrack,
        batch_size=full.batch_size,
        images=images,
        start=full.start,
        sampling=plan_sampling(full.sampling, settings, find_sampler(full.sampler)),
        variation=_plan_variation(variation, full.width, full.height),
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
        notes=_notes(images),
    )


def _plan_images(
    request: GenerationRequest, settings: Settings, words: Words, first_seed: int, total: int
) -> Iterator[ImagePlan]:
    """Yield the images with their prompts: styles applied, comments left out, templates resolved with each seed."""
    styles = [find_style(name, words.styles) for name in request.styles]
    template = apply_styles(request.prompt, [style.prompt for style in styles])
    negative_template = apply_styles(request.negative_prompt, [style.negative_prompt for style in styles])
    if settings.prompt_comments:
        template, negative_template = strip_comments(template), strip_comments(negative_template)
    dynamic = DynamicPrompts(words.wildcards)
    for index in range(total):
        seed, variation_seed = _seeds(request.variation or Variation(), first_seed, index)
        prompt, negative_prompt = template, negative_template
        if settings.dynamic_prompts:
            prompt = dynamic.resolve(template, f"prompt {seed}")
            negative_prompt = dynamic.resolve(negative_template, f"negative prompt {seed}")
        _check_branches(prompt)
        yield ImagePlan(
            index=index,
            seed=seed,
            variation_seed=variation_seed,
            prompt=prompt,
            negative_prompt=negative_prompt,
            template=template if prompt != template else "",
            negative_template=negative_template if negative_prompt != negative_template else "",
        )


def _seeds(variation: Variation, first_seed: int, index: int) -> tuple[int, int | None]:
    """Return seed and variation seed of image `index`. With a variation the seed stays and the other one counts up."""
    if variation.strength == 0:
        return (first_seed + index) % (MAX_SEED + 1), None
    return first_seed, (variation.seed + index) % (MAX_SEED + 1)


def _plan_variation(variation: Variation, width: int, height: int) -> VariationPlan:
    """Resolve the sizes the noise comes from; one that is left out is the picture's."""
    if variation.resize_from_width is None and variation.resize_from_height is None:
        return VariationPlan(strength=variation.strength)
    size = variation.resize_from_width or width, variation.resize_from_height or height
    return VariationPlan(strength=variation.strength, resize_from=size)


def plan_sampling(asked: SamplingOptions, settings: Settings, sampler: SamplerInfo) -> SamplingPlan:
    """Return the options for `sampler`: what was asked, else the settings; eta only where the sampler knows one."""
    usual = {
        "churn": settings.churn,
        "tmin": settings.tmin,
        "tmax": settings.tmax,
        "noise": settings.noise,
        "sigma_min": settings.sigma_min,
        "sigma_max": settings.sigma_max,
        "rho": settings.rho,
        "beta_alpha": settings.beta_alpha,
        "beta_beta": settings.beta_beta,
        "discard_penultimate": settings.discard_penultimate,
        "noise_source": settings.noise_source,
        "seed_delta": settings.seed_delta,
    }
    chosen = {name: value if (value := getattr(asked, name)) is not None else usual[name] for name in usual}
    return SamplingPlan.model_validate({**chosen, "eta": _eta(asked, settings, sampler)})


def _eta(asked: SamplingOptions, settings: Settings, sampler: SamplerInfo) -> float | None:
    if sampler.default_eta is None or asked.eta is not None:
        return None if sampler.default_eta is None else asked.eta
    return {1.0: settings.eta_ancestral, 0.0: settings.eta_ddim}.get(sampler.default_eta, sampler.default_eta)


def preview_prompt(prompt: str, settings: Settings, wildcards: Lookup) -> str:
    """Return one of the prompts that `prompt` can become, always the same one."""
    text = strip_comments(prompt) if settings.prompt_comments else prompt
    return DynamicPrompts(wildcards).resolve(text, "preview") if settings.dynamic_prompts else text


def _check_branches(prompt: str) -> None:
    branches = count_branches(prompt)
    if branches > MAX_BRANCHES:
        raise BadRequest(
            f"The prompt joins {branches} prompts with AND: at most {MAX_BRANCHES}.",
            hint="Each of them costs as much time as a whole image.",
            field="prompt",
        )


def _notes(images: Sequence[ImagePlan]) -> tuple[str, ...]:
    """Return one note for each kind of tag: none has an effect yet, and nobody should wonder why."""
    kinds = {tag.kind for prompt in {image.prompt for image in images} for tag in extract_tags(prompt)[1]}
    return tuple(f"Tags <{kind}:…> have no effect: there is nothing here that knows them." for kind in sorted(kinds))


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
