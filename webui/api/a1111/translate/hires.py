"""The second pass and the second checkpoint."""

from __future__ import annotations

from webui.api.a1111.schemas.processing import Processing, StableDiffusionProcessingTxt2Img
from webui.api.a1111.translate.fields import in_their_words
from webui.domain.sampling import find_sampler, find_schedule, split_combined
from webui.errors import BadRequest, NotFound

USUAL_UPSCALER = "Latent"
SAME = frozenset({"", "None", "Use same sampler", "Use same scheduler", "Use same checkpoint"})
SAME_MODULES = ["Use same choices"]
NO_REFINER = frozenset({"", "None", "none"})
FIRST_MOMENT = 0.01


def read_size(asked: StableDiffusionProcessingTxt2Img) -> dict[str, int]:
    """Return the size of the first pass: `firstphase_width` and `…_height` stand in for it, as in A1111."""
    if not asked.firstphase_width and not asked.firstphase_height:
        return {"width": asked.width, "height": asked.height}
    return {"width": asked.firstphase_width or asked.width, "height": asked.firstphase_height or asked.height}


def read_hires(asked: StableDiffusionProcessingTxt2Img) -> dict[str, object] | None:
    """Return the fields of our second pass, None without `enable_hr`: whatever else was sent has no effect then."""
    if not asked.enable_hr:
        return None
    if asked.hr_additional_modules not in ([], SAME_MODULES):
        raise BadRequest(
            "hr_additional_modules: the second pass uses the first one's.",
            hint="Leave hr_additional_modules out or send [].",
            field="hr_additional_modules",
        )
    sampler, schedule = _sampling(asked)
    return {
        "scale": asked.hr_scale,
        "width": asked.hr_resize_x or None,
        "height": asked.hr_resize_y or None,
        "upscaler": asked.hr_upscaler or USUAL_UPSCALER,
        "steps": asked.hr_second_pass_steps or None,
        "strength": asked.denoising_strength,
        "sampler": sampler,
        "schedule": schedule,
        "guidance": asked.hr_cfg,
        "model": _other(asked.hr_checkpoint_name),
        "prompt": asked.hr_prompt,
        "negative_prompt": asked.hr_negative_prompt,
    }


def _sampling(asked: StableDiffusionProcessingTxt2Img) -> tuple[str | None, str | None]:
    """Return sampler and schedule of the second pass, None where they are the first one's."""
    sampler, schedule = _other(asked.hr_sampler_name), _other(asked.hr_scheduler)
    try:
        if sampler is not None:
            sampler, from_name = split_combined(sampler, schedule or "Automatic")
            sampler = find_sampler(sampler).name
            schedule = schedule or (None if from_name == "Automatic" else from_name)
        return sampler, find_schedule(schedule).label if schedule else None
    except NotFound as error:
        raise in_their_words(NotFound(error.message, hint=error.hint, field=f"hires.{error.field}")) from error


def _other(name: str | None) -> str | None:
    """Return a name that is not one of those for "the same"."""
    return None if name is None or name in SAME else name


def read_refiner(asked: Processing) -> dict[str, object] | None:
    """Return the fields of our refiner, None if there is nothing to refine.

    As in A1111 it takes over from the first step on when `refiner_switch_at` is not sent, and never at 1.
    """
    if asked.refiner_checkpoint is None or asked.refiner_checkpoint in NO_REFINER:
        return None
    switch_at = FIRST_MOMENT if asked.refiner_switch_at is None else asked.refiner_switch_at
    return None if switch_at == 1 else {"model": asked.refiner_checkpoint, "switch_at": switch_at}
