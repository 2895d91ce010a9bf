"""What a plan says about an image, as text."""

from __future__ import annotations

from webui import __version__
from webui.domain.plan import AnyPlan, ImagePlan, Plan, SamplingPlan, UpscalePlan
from webui.domain.sampling import find_sampler
from webui.domain.start import FromMaskedImage, FromNoise
from webui.images.infotext.grammar import NEGATIVE, quoted, with_plain_lines
from webui.images.infotext.names import (
    BETA_KEYS,
    CHURN_KEYS,
    CONTENT_NAMES,
    NOISE_KEYS,
    NOT_MASKED,
    ONLY_MASKED,
    SAMPLING_NAMES,
    SCHEDULE_KEYS,
)


def write(plan: AnyPlan, index: int) -> str:
    """Return the infotext of image `index` of `plan`. An enlarged picture keeps its own."""
    if isinstance(plan, UpscalePlan):
        return _with_postprocessing(plan, plan.image(index).infotext)
    part = plan.part(index)
    return _write(part, part.image(index))


def _with_postprocessing(plan: UpscalePlan, infotext: str) -> str:
    size = f"{plan.width}x{plan.height}" if plan.width and plan.height else ""
    facts = {
        **({"Postprocess upscale to": size} if size else {"Postprocess upscale by": _number(plan.scale)}),
        "Postprocess upscaler": plan.upscaler.name,
    }
    if plan.second_upscaler is not None:
        facts["Postprocess upscaler 2"] = plan.second_upscaler.name
    written = ", ".join(f"{key}: {quoted(value)}" for key, value in facts.items())
    return f"{infotext}, {written}" if infotext else written


def _write(plan: Plan, image: ImagePlan) -> str:
    lines = [with_plain_lines(image.prompt)] if image.prompt else []
    if image.negative_prompt:
        lines.append(f"{NEGATIVE} {with_plain_lines(image.negative_prompt)}")
    lines.append(", ".join(f"{key}: {quoted(value)}" for key, value in _parameters(plan, image).items()))
    return "\n".join(lines)


def _parameters(plan: Plan, image: ImagePlan) -> dict[str, str]:
    parameters = {
        "Steps": str(plan.steps),
        "Sampler": plan.sampler,
        "Schedule type": plan.schedule,
        "CFG scale": _number(plan.guidance),
        "Seed": str(image.seed),
        "Size": f"{plan.width}x{plan.height}",
    }
    if plan.infotext.model_hash:
        parameters["Model hash"] = plan.model.short_hash
    if plan.infotext.model_name:
        parameters["Model"] = plan.model.name
    parameters |= _variation_parameters(plan, image)
    if not isinstance(plan.start, FromNoise):
        parameters["Denoising strength"] = _number(plan.start.strength)
    if plan.clip_skip > 1:
        parameters["Clip skip"] = str(plan.clip_skip)
    parameters |= _sampling_parameters(plan)
    parameters |= _prompt_parameters(plan, image)
    if isinstance(plan.start, FromMaskedImage):
        parameters |= _mask_parameters(plan.start)
    if plan.infotext.version:
        parameters["Version"] = f"easel-{__version__}"
    return parameters


def _variation_parameters(plan: Plan, image: ImagePlan) -> dict[str, str]:
    parameters: dict[str, str] = {}
    if image.variation_seed is not None:
        parameters["Variation seed"] = str(image.variation_seed)
        parameters["Variation seed strength"] = _number(plan.variation.strength)
    if plan.variation.resize_from:
        width, height = plan.variation.resize_from
        parameters["Seed resize from"] = f"{width}x{height}"
    return parameters


def _sampling_parameters(plan: Plan) -> dict[str, str]:
    """Return the options that differ from A1111's own defaults, as far as the sampler heeds them.

    Its noise comes from the GPU unless its text says otherwise, so ours is named unless it does as well.
    """
    sampler, options, usual = find_sampler(plan.sampler), plan.sampling, SamplingPlan()
    parameters: dict[str, str] = {}
    if options.seed_delta and sampler.uses_seed_delta and options.eta:
        parameters["ENSD"] = str(options.seed_delta)
    if options.noise_source != "GPU":
        parameters["RNG"] = options.noise_source
    if options.eta is not None and options.eta != sampler.default_eta:
        parameters["Eta DDIM" if sampler.default_eta == 0 else "Eta"] = _number(options.eta)
    heeded = [*(CHURN_KEYS if sampler.churns else ()), *(NOISE_KEYS if sampler.churns or sampler.stochastic else ())]
    for key in [*heeded, *SCHEDULE_KEYS, *(BETA_KEYS if plan.schedule == "Beta" else ())]:
        name = SAMPLING_NAMES[key]
        if key in BETA_KEYS or getattr(options, name) != getattr(usual, name):
            parameters[key] = _number(getattr(options, name))
    if options.discard_penultimate and not sampler.discards_penultimate:
        parameters["Discard penultimate sigma"] = "True"
    return parameters


def _prompt_parameters(plan: Plan, image: ImagePlan) -> dict[str, str]:
    """Return what the prompts alone do not say: how their brackets were taken, and which templates they came from."""
    has_brackets = any(bracket in text for text in (image.prompt, image.negative_prompt) for bracket in "([")
    parameters: dict[str, str] = {}
    if plan.emphasis != "Original" and has_brackets:
        parameters["Emphasis"] = plan.emphasis
    if image.template:
        parameters["Template"] = with_plain_lines(image.template)
    if image.negative_template:
        parameters["Negative Template"] = with_plain_lines(image.negative_template)
    return parameters


def _mask_parameters(start: FromMaskedImage) -> dict[str, str]:
    """Return what A1111 writes about a mask: only what differs from painting the masked part of the whole picture."""
    parameters = {"Mask mode": NOT_MASKED} if start.invert else {}
    if start.mask_blur:
        parameters["Mask blur"] = str(start.mask_blur)
    if start.area == "masked":
        parameters |= {"Inpaint area": ONLY_MASKED, "Masked area padding": str(start.padding)}
    if start.content != "original":
        parameters["Masked content"] = CONTENT_NAMES[start.content]
    if start.soft:
        parameters["Soft inpainting enabled"] = "True"
    return parameters


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else str(value)
