"""The names of parameters, as A1111 writes them, and the fields they stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from webui.domain.start import Content, Resize

MODULE = re.compile(r"Module \d+")
"""Forge's names of a VAE or a text encoder in a file of its own."""

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

GUIDING_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "CFG rescale": "rescale",
        "Skip Early CFG": "start",
        "CFG end": "end",
        "NGMS": "minimum",
        "Image CFG scale": "image",
    }
)
"""Parameter → field of `GuidanceOptions` and `GuidancePlan`. Those without A1111's name have SD.Next's."""

OLD_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "KDiff Sched Type": "Schedule type",
        "KDiff Sched max sigma": "Schedule max sigma",
        "KDiff Sched min sigma": "Schedule min sigma",
        "KDiff Sched rho": "Schedule rho",
        "Eta (Ancestral)": "Eta",
        "Masked content padding": "Masked area padding",
        "First pass strength": "Denoising strength",
        "CFG Rescale phi": "CFG rescale",
    }
)
"""Names of parameters in earlier versions and in extensions → the one used here."""

HIRES_STRENGTH = "Hires strength"  # SD.Next's, where the first pass has a strength as well

OUTPAINTING_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "Outpainting left": "left",
        "Outpainting right": "right",
        "Outpainting up": "up",
        "Outpainting down": "down",
        "Outpainting overlap": "overlap",
    }
)
"""Parameter → field of `FromExtendedImage`."""

TILES_NAMES: Mapping[str, str] = MappingProxyType(
    {"SD upscale upscaler": "upscaler", "SD upscale factor": "factor", "SD upscale overlap": "overlap"}
)
"""Parameter → field of `FromTiles`."""

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
RESIZE_NAMES: Mapping[Resize, str] = MappingProxyType(
    {
        "just_resize": "Just resize",
        "crop": "Crop and resize",
        "fill": "Resize and fill",
        "latent": "Just resize (latent upscale)",
    }
)
OWN_VERSION = "easel-"
WHITE = "#ffffff"  # what A1111 puts behind transparent pictures
POSTPROCESS = "Postprocess "
