"""What models of flow matching can be asked for, and the guidance that distilled ones are told."""

from __future__ import annotations

from webui.domain.models import CONTROLLED, Family, ModelInfo
from webui.domain.plan import SamplingPlan
from webui.domain.request import GenerationRequest
from webui.domain.sampling import SAMPLERS, SamplerInfo, find_schedule
from webui.domain.start import FromNoise
from webui.errors import BadRequest

DISTILLED_GUIDANCE = 3.5  # Flux dev's usual


def fit_sampling(
    sampling: SamplingPlan, sampler: SamplerInfo, schedule: str, family: Family, within: str = ""
) -> SamplingPlan:
    """Return the options for a model of `family`: no sampler of flow matching knows churn.

    Raises `BadRequest` for what would draw a wrong picture, about the field `within` + its name.
    """
    if not family.is_flow:
        return sampling
    if not sampler.solves_flow:
        fit = ", ".join(info.name for info in SAMPLERS if info.solves_flow)
        raise BadRequest(
            f"The sampler {sampler.name} does not work with {family.name} models: it adds noise, they mix it in.",
            hint=f"Use one of: {fit}.",
            field=f"{within}sampler",
        )
    if not find_schedule(schedule).fits_flow:
        raise BadRequest(
            f"The schedule {schedule} was made for other noise levels than those of {family.name} models.",
            hint="Use Automatic or Simple.",
            field=f"{within}schedule",
        )
    if max(sampling.sigma_min, sampling.sigma_max) > 1:
        raise BadRequest(
            f"{family.name} models know noise levels up to 1.",
            hint="Set Schedule max sigma and Schedule min sigma to 0, which means the model's own.",
            field="sampling.sigma_max",
        )
    return sampling.replace(churn=0.0)


def check_control(request: GenerationRequest, checkpoint: ModelInfo) -> None:
    """Refuse what gives a model that follows a picture none: txt2img, or a second pass."""
    if checkpoint.variant != CONTROLLED:
        return
    if isinstance(request.start, FromNoise) or request.hires is not None:
        raise BadRequest(
            f"{checkpoint.name} follows a picture of edges or depths.",
            hint="Give it one in img2img, at a denoising strength of 1 and without a second pass.",
            field="model",
        )


def plan_distilled(request: GenerationRequest, checkpoint: ModelInfo, others: bool) -> float | None:
    """Return the guidance that distilled networks are told, None where there is no such network; `others`: whether
    another model takes part."""
    usual = checkpoint.defaults.distilled_guidance
    if usual is None and not (others and checkpoint.family is Family.FLUX):
        return None
    return next(value for value in (request.distilled_guidance, usual, DISTILLED_GUIDANCE) if value is not None)


def note_distilled(request: GenerationRequest, distilled: float | None) -> tuple[str, ...]:
    """Return what the user should know: that not every model can be told a guidance."""
    if not request.distilled_guidance or distilled is not None:  # the page sends 0 where it shows none
        return ()
    return ("The distilled CFG scale has no effect: this model was not distilled to be told one.",)
