"""The bodies of txt2img and img2img as our request, with the settings that hold for it alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from webui.api.a1111.schemas.processing import (
    Processing,
    StableDiffusionProcessingImg2Img,
    StableDiffusionProcessingTxt2Img,
)
from webui.api.a1111.translate.always_on import fields_of_always_on, wants_soft_inpainting
from webui.api.a1111.translate.fields import checked
from webui.api.a1111.translate.hires import read_hires, read_refiner, read_size
from webui.api.a1111.translate.infotext import Asked, filled
from webui.api.a1111.translate.overrides import read_overrides
from webui.api.a1111.translate.pictures import Store, read_base64_image, read_start
from webui.domain.passes import ScriptCall
from webui.domain.request import GenerationRequest
from webui.domain.sampling import SamplerInfo, ScheduleInfo, find_sampler, find_schedule, split_combined
from webui.domain.start import FromImage
from webui.errors import BadRequest, NotFound

NO_SCRIPT = frozenset({"", "None"})

FindScript = Callable[[str, list[Any]], ScriptCall]
"""Returns the call that a script's name and its arguments by position mean."""


@dataclass(frozen=True)
class Translated:
    """A request with the settings that hold for it alone (A1111's option names)."""

    request: GenerationRequest
    overrides: Mapping[str, object]


def with_always_on(asked: Asked) -> Asked:
    """Return the request with the fields that `alwayson_scripts` name and that were not sent themselves."""
    return filled(asked, fields_of_always_on(asked), "alwayson_scripts")


def to_request(asked: StableDiffusionProcessingTxt2Img, find_script: FindScript, store: Store) -> Translated:
    """Return what `asked` means; raise `BadRequest` or `NotFound` naming the field that asks for the impossible.

    `store` keeps a picture that stands in for the first pass and returns the reference to it.
    """
    translated = _translate(asked, find_script, {**read_size(asked), "hires": read_hires(asked)})  # stores nothing yet
    if not asked.firstpass_image or translated.request.hires is None:
        return translated
    picture = store(read_base64_image(asked.firstpass_image, "firstpass_image"))
    return Translated(translated.request.replace(start=FromImage(images=(picture,))), translated.overrides)


def to_picture_request(asked: StableDiffusionProcessingImg2Img, find_script: FindScript, store: Store) -> Translated:
    """The same for img2img; `store` keeps each picture that was sent."""
    _refuse(MISSING_IN_IMG2IMG, asked)
    soft = wants_soft_inpainting(asked)
    translated = _translate(asked, find_script, {"width": asked.width, "height": asked.height})  # stores nothing yet
    start = read_start(asked, store, soft=soft)
    batch_size = len(start["images"]) if len(start["images"]) > 1 else asked.batch_size
    guiding = {**dict(translated.request.guiding), "image": asked.image_cfg_scale}
    values = {**dict(translated.request), "start": start, "batch_size": batch_size, "guiding": guiding}
    overrides = dict(translated.overrides)
    if asked.initial_noise_multiplier is not None:
        overrides["initial_noise_multiplier"] = asked.initial_noise_multiplier
    return Translated(checked(values), overrides)


def _translate(asked: Processing, find_script: FindScript, more: Mapping[str, object]) -> Translated:
    """Return what both kinds of request have in common, with the fields `more`."""
    sampler, schedule = _sampling(asked)
    _refuse(MISSING, asked)
    overrides = read_overrides(asked)
    values = {
        "prompt": asked.prompt,
        "negative_prompt": asked.negative_prompt,
        "styles": tuple(name for name in asked.styles if name not in ("", "None")),
        "model": overrides.pop("sd_model_checkpoint", None) or None,
        "vae": overrides.pop("sd_vae", None) or None,
        "sampler": sampler.name,
        "schedule": schedule.label,
        "steps": asked.steps,
        "guidance": asked.cfg_scale,
        "distilled_guidance": asked.distilled_cfg_scale,
        "seed": asked.seed,
        "variation": _variation(asked),
        "sampling": {
            "eta": asked.eta,
            "churn": asked.s_churn,
            "tmin": asked.s_tmin,
            "tmax": asked.s_tmax,
            "noise": asked.s_noise,
        },
        "batch_size": asked.batch_size,
        "batch_count": asked.n_iter,
        "tiling": "both" if asked.tiling else "none",
        "guiding": {"minimum": asked.s_min_uncond},
        "refiner": read_refiner(asked),
        "keep": asked.save_images,
        **more,
    }
    request = checked(values)
    if asked.script_name is not None and asked.script_name not in NO_SCRIPT:
        request = request.replace(script=_script(asked.script_name, asked.script_args, find_script))
    return Translated(request, overrides)


def _script(name: str, arguments: list[Any], find_script: FindScript) -> ScriptCall:
    try:
        return find_script(name, arguments)
    except NotFound as error:  # A1111 answers 422
        raise BadRequest(f"Script {name[:60]!r} not found.", hint=error.hint, field="script_name") from error


def _sampling(asked: Processing) -> tuple[SamplerInfo, ScheduleInfo]:
    name = asked.sampler_name or asked.sampler_index
    sampler, schedule = split_combined(name, asked.scheduler or "Automatic")
    return find_sampler(sampler), find_schedule(schedule)


def _variation(asked: Processing) -> dict[str, object] | None:
    """Return the variation; sizes up to 0 mean none, and one size without the other has no effect, as in A1111."""
    resizes = asked.seed_resize_from_w > 0 and asked.seed_resize_from_h > 0
    if not resizes and asked.subseed_strength == 0:
        return None
    return {
        "seed": asked.subseed,
        "strength": asked.subseed_strength,
        "resize_from_width": asked.seed_resize_from_w if resizes else None,
        "resize_from_height": asked.seed_resize_from_h if resizes else None,
    }


Missing = tuple[tuple[str, Callable[[Any], object], str], ...]
"""(field, whether it asks for something, its neutral value)."""

MISSING: Missing = (("restore_faces", lambda asked: asked.restore_faces, "false"),)
MISSING_IN_IMG2IMG: Missing = (
    ("latent_mask", lambda asked: asked.latent_mask and asked.latent_mask != asked.mask, ""),
    ("mask_round", lambda asked: asked.mask and not asked.mask_round, "true"),
)


def _refuse(missing: Missing, asked: Processing) -> None:
    """Raise `BadRequest` when a field asks for something Easel does not do; its neutral values pass."""
    for field, asks, without in missing:
        if asks(asked):
            raise BadRequest(
                f"{field}: Easel has no such feature yet (given: {str(getattr(asked, field))[:60]!r}).",
                hint=f"Leave {field} out{f' or send {without}' if without else ''}.",
                field=field,
            )
