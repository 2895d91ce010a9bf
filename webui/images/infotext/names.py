"""The names of parameters, as A1111 writes them, and the fields they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from webui.domain.start import Content

CHURN_KEYS = ("Sigma churn", "Sigma tmin", "Sigma tmax")
NOISE_KEYS = ("Sigma noise",)
SCHEDULE_KEYS = ("Schedule min sigma", "Schedule max sigma", "Schedule rho")
BETA_KEYS = ("Beta schedule alpha", "Beta schedule beta")
SAMPLING_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "Eta": "eta",
        "Eta DDIM": "eta",
        "Sigma churn": "churn",
        "Sigma tmin": "tmin",
        "Sigma tmax": "tmax",
        "Sigma noise": "noise",
        "Schedule min sigma": "sigma_min",
        "Schedule max sigma": "sigma_max",
        "Schedule rho": "rho",
        "Beta schedule alpha": "beta_alpha",
        "Beta schedule beta": "beta_beta",
        "Discard penultimate sigma": "discard_penultimate",
        "ENSD": "seed_delta",
        "RNG": "noise_source",
    }
)
"""Parameter → field of `SamplingOptions` and `SamplingPlan`."""

VARIATION_NAMES: Mapping[str, str] = MappingProxyType({"Variation seed": "seed", "Variation seed strength": "strength"})
"""Parameter → field of `Variation`."""

NOT_MASKED = "Inpaint not masked"
ONLY_MASKED = "Only masked"
CONTENT_NAMES: Mapping[Content, str] = MappingProxyType(
    {
        "fill": "fill",
        "original": "original",
        "latent_noise": "latent noise",
        "latent_nothing": "latent nothing",
    }
)
