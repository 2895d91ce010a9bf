"""Options of samplers, schedules and noise: what was asked, else what the settings say."""

from __future__ import annotations

from webui.domain.plan import SamplingPlan, VariationPlan
from webui.domain.sampling import SamplerInfo
from webui.domain.sampling_options import SamplingOptions, Variation
from webui.settings import Settings


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


def plan_variation(variation: Variation, width: int, height: int) -> VariationPlan:
    """Resolve the sizes the noise comes from; one that is left out is the picture's."""
    if variation.resize_from_width is None and variation.resize_from_height is None:
        return VariationPlan(strength=variation.strength)
    size = variation.resize_from_width or width, variation.resize_from_height or height
    return VariationPlan(strength=variation.strength, resize_from=size)
