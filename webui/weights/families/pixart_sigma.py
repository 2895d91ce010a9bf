"""The files of PixArt-Σ: those of PixArt-α with SDXL's latents, longer texts and nothing told about sizes."""

from __future__ import annotations

from webui.domain.models import Family
from webui.weights.families.family import FamilyFiles
from webui.weights.families.pixart_alpha import CLASSES, check, defaults
from webui.weights.families.schedules import read_noise_schedule

FILES = FamilyFiles(
    family=Family.PIXART_SIGMA,
    words="a PixArt-Σ",
    pipelines=frozenset({"PixArtSigmaPipeline"}),
    classes=CLASSES,
    read_noise=read_noise_schedule,
    check=check,
    defaults=defaults,
)
