"""The parameters of one image of a plan, in A1111's order: what is as usual there is left out."""

from __future__ import annotations

from collections.abc import Mapping

from webui import __version__
from webui.domain.models import Family
from webui.domain.plan import HiresPlan, ImagePlan, ModelRef, Plan, SamplingPlan
from webui.domain.sampling import find_sampler
from webui.domain.start import FromExtendedImage, FromMaskedImage, FromNoise, FromTiles
from webui.images.infotext.grammar import with_plain_lines
from webui.images.infotext.names import (
    BETA_KEYS,
    CHURN_KEYS,
    CONTENT_NAMES,
    GUIDING_NAMES,
    NOISE_KEYS,
    NOT_MASKED,
    ONLY_MASKED,
    OUTPAINTING_NAMES,
    OWN_VERSION,
    RESIZE_NAMES,
    SAMPLING_NAMES,
    SCHEDULE_KEYS,
    TILES_NAMES,
    WHITE,
)

_NOT_OF_PIPELINES = frozenset({"Sampler", "Schedule type", "RNG", "Emphasis", *SCHEDULE_KEYS})
"""What does not act where diffusers' own pipeline runs a model."""


def parameters_of(plan: Plan, image: ImagePlan) -> dict[str, str]:
    """Return what is written about `image` of `plan` besides its prompts."""
    parameters = {
        "Steps": str(plan.steps),
        "Sampler": plan.sampler,
        "Schedule type": plan.schedule,
        "CFG scale": number(plan.guidance),
        **({} if plan.distilled_guidance is None else {"Distilled CFG Scale": number(plan.distilled_guidance)}),
        "Seed": str(image.seed),
        "Size": f"{plan.width}x{plan.height}",
    }
    parameters |= _models(plan)
    parameters |= _variation(plan, image)
    parameters |= _strength(plan)
    if plan.clip_skip > 1:
        parameters["Clip skip"] = str(plan.clip_skip)
    parameters |= _sampling(plan)
    if plan.tiling != "none":
        parameters["Tiling"] = "True" if plan.tiling == "both" else plan.tiling
    parameters |= _guiding(plan)
    parameters |= _prompts(plan, image)
    parameters |= _start(plan)
    if plan.hires:
        parameters |= _hires(plan, image, plan.hires)
    if plan.refiner:
        parameters |= {"Refiner": title(plan.refiner.model), "Refiner switch at": number(plan.refiner.switch_at)}
    parameters |= plan.facts
    if plan.extra.sampler:
        parameters["Sampler"] = plan.extra.sampler
    if plan.extra.schedule:
        parameters["Schedule type"] = plan.extra.schedule
    if plan.infotext.version:
        parameters["Version"] = f"{OWN_VERSION}{__version__}"
    if plan.model.family is Family.OTHER:
        return {key: value for key, value in parameters.items() if key not in _NOT_OF_PIPELINES}
    return parameters


def number(value: float) -> str:
    """Return a number without needless digits."""
    return str(int(value)) if float(value).is_integer() else str(value)


def title(model: ModelRef) -> str:
    """Return the name of a model besides the main one, with its short hash."""
    return f"{model.name} [{model.short_hash}]"


def _models(plan: Plan) -> dict[str, str]:
    parameters: dict[str, str] = {}
    if plan.infotext.model_hash:
        parameters["Model hash"] = plan.model.short_hash
    if plan.infotext.model_name:
        parameters["Model"] = plan.model.name
    if plan.vae:
        parameters |= {"VAE hash": plan.vae.short_hash, "VAE": plan.vae.path.name}
    parameters |= {f"Module {number}": part.name for number, part in enumerate(plan.model.parts, 1)}
    if plan.model.eight_bit:
        parameters["FP8 weight"] = "Enable"
    if plan.taesd.encoder:
        parameters["VAE Encoder"] = "TAESD"
    if plan.taesd.decoder:
        parameters["VAE Decoder"] = "TAESD"
    return parameters


def _variation(plan: Plan, image: ImagePlan) -> dict[str, str]:
    parameters: dict[str, str] = {}
    if image.variation_seed is not None:
        parameters["Variation seed"] = str(image.variation_seed)
        parameters["Variation seed strength"] = number(plan.variation.strength)
    if plan.variation.resize_from:
        width, height = plan.variation.resize_from
        parameters["Seed resize from"] = f"{width}x{height}"
    return parameters


def _strength(plan: Plan) -> dict[str, str]:
    """Return how much of a picture is painted anew: of the first pass's result, else of the one it began with.

    A finished picture that stands for the first pass's result is not told from it: it was made that way.
    """
    if plan.hires:
        return {"Denoising strength": number(plan.hires.strength)}
    return {} if isinstance(plan.start, FromNoise) else {"Denoising strength": number(plan.start.strength)}


def _sampling(plan: Plan) -> dict[str, str]:
    """Return the options that differ from A1111's own defaults, as far as the sampler of a pass heeds them."""
    parameters = _sampling_of(plan.sampler, plan.schedule, plan.sampling)
    if plan.hires:
        parameters = {**_sampling_of(plan.hires.sampler, plan.hires.schedule, plan.hires.sampling), **parameters}
    return parameters


def _sampling_of(sampler_name: str, schedule: str, options: SamplingPlan) -> dict[str, str]:
    """Return the same of one pass.

    A1111's noise comes from the GPU unless its text says otherwise, so ours is named unless it does as well.
    """
    sampler, usual = find_sampler(sampler_name), SamplingPlan()
    parameters: dict[str, str] = {}
    if options.seed_delta and sampler.uses_seed_delta and options.eta:
        parameters["ENSD"] = str(options.seed_delta)
    if options.noise_source != "GPU":
        parameters["RNG"] = options.noise_source
    if options.eta is not None and options.eta != sampler.default_eta:
        parameters["Eta DDIM" if sampler.default_eta == 0 else "Eta"] = number(options.eta)
    heeded = [*(CHURN_KEYS if sampler.churns else ()), *(NOISE_KEYS if sampler.churns or sampler.stochastic else ())]
    for key in [*heeded, *SCHEDULE_KEYS, *(BETA_KEYS if schedule == "Beta" else ())]:
        name = SAMPLING_NAMES[key]
        if key in BETA_KEYS or getattr(options, name) != getattr(usual, name):
            parameters[key] = number(getattr(options, name))
    if options.discard_penultimate and not sampler.discards_penultimate:
        parameters["Discard penultimate sigma"] = "True"
    return parameters


def _guiding(plan: Plan) -> dict[str, str]:
    guiding, usual = plan.guiding, type(plan.guiding)()
    return {
        key: number(getattr(guiding, name))
        for key, name in GUIDING_NAMES.items()
        if getattr(guiding, name) != getattr(usual, name)
    }


def _prompts(plan: Plan, image: ImagePlan) -> dict[str, str]:
    """Return what the prompts alone do not say: how their brackets were taken, and which templates they came from."""
    texts = (image.prompt, image.negative_prompt, image.hires_prompt or "", image.hires_negative_prompt or "")
    parameters: dict[str, str] = {}
    if plan.emphasis != "Original" and any(bracket in text for text in texts for bracket in "(["):
        parameters["Emphasis"] = plan.emphasis
    if image.template:
        parameters["Template"] = with_plain_lines(image.template)
    if image.negative_template:
        parameters["Negative Template"] = with_plain_lines(image.negative_template)
    return parameters


def _start(plan: Plan) -> dict[str, str]:
    """Return what differs from A1111's usual way with the picture a job begins with."""
    start, picture = plan.start, plan.picture
    if isinstance(start, FromNoise):
        return {"Extra noise": number(picture.extra_noise)} if plan.hires and picture.extra_noise else {}
    parameters: dict[str, str] = {}
    if picture.mask_weight != 1 and isinstance(start, FromMaskedImage):
        parameters["Conditional mask weight"] = number(picture.mask_weight)
    if picture.noise_multiplier != 1:
        parameters["Noise multiplier"] = number(picture.noise_multiplier)
    if picture.extra_noise:
        parameters["Extra noise"] = number(picture.extra_noise)
    if start.resize != "just_resize":
        parameters["Resize mode"] = RESIZE_NAMES[start.resize]
    if start.background and start.background.lower() != WHITE:
        parameters["Background"] = start.background
    match start:
        case FromMaskedImage():
            parameters |= _mask(start)
        case FromExtendedImage():
            parameters |= _named(start, OUTPAINTING_NAMES)
            parameters["Masked content"] = CONTENT_NAMES[start.content]
        case FromTiles():
            parameters |= _named(start, TILES_NAMES)
    return parameters


def _named(start: FromExtendedImage | FromTiles, names: Mapping[str, str]) -> dict[str, str]:
    values = {key: getattr(start, name) for key, name in names.items()}
    return {key: value if isinstance(value, str) else number(value) for key, value in values.items()}


def _mask(start: FromMaskedImage) -> dict[str, str]:
    """Return what A1111 writes about a mask: what differs from painting the masked part of the whole picture.

    Its blur is written even if there is none: nothing else may tell that there was a mask at all.
    """
    parameters = {"Mask mode": NOT_MASKED} if start.invert else {}
    parameters["Mask blur"] = str(start.mask_blur)
    if start.area == "masked":
        parameters |= {"Inpaint area": ONLY_MASKED, "Masked area padding": str(start.padding)}
    if start.content != "original":
        parameters["Masked content"] = CONTENT_NAMES[start.content]
    if start.soft:
        parameters["Soft inpainting enabled"] = "True"
    return parameters


def _hires(plan: Plan, image: ImagePlan, hires: HiresPlan) -> dict[str, str]:
    """Return the second pass: its size and upscaler, and what differs from the first."""
    parameters: dict[str, str] = {}
    if hires.model and hires.model != plan.model:
        parameters["Hires checkpoint"] = title(hires.model)
    if hires.sampler != plan.sampler:
        parameters["Hires sampler"] = hires.sampler
    if image.hires_prompt is not None and image.hires_prompt != image.prompt:
        parameters["Hires prompt"] = with_plain_lines(image.hires_prompt)
    if image.hires_negative_prompt is not None and image.hires_negative_prompt != image.negative_prompt:
        parameters["Hires negative prompt"] = with_plain_lines(image.hires_negative_prompt)
    if hires.schedule != plan.schedule:
        parameters["Hires schedule type"] = hires.schedule
    if hires.guidance != plan.guidance:
        parameters["Hires CFG Scale"] = number(hires.guidance)
    if hires.scale is not None:
        parameters["Hires upscale"] = number(hires.scale)
    else:
        parameters["Hires resize"] = f"{hires.width}x{hires.height}"
    if hires.steps != plan.steps:
        parameters["Hires steps"] = str(hires.steps)
    return {**parameters, "Hires upscaler": hires.upscaler.name}
