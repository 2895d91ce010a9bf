"""One module per model family: how its files are recognised. Torch is not needed."""

from __future__ import annotations

from collections.abc import Mapping

from webui.domain.models import Family
from webui.weights.families import (
    auraflow,
    chroma,
    flux,
    flux2,
    hunyuan_dit,
    kolors,
    lumina2,
    pixart_alpha,
    pixart_sigma,
    playground,
    qwen_image,
    sana,
    sd1,
    sd2,
    sd3,
    sdxl,
    sdxl_refiner,
    z_image,
)
from webui.weights.families.family import FamilyFiles, Json, ReadJson

ALL: tuple[FamilyFiles, ...] = (
    kolors.FILES,
    hunyuan_dit.FILES,
    lumina2.FILES,
    sana.FILES,
    auraflow.FILES,
    pixart_sigma.FILES,
    pixart_alpha.FILES,
    flux.FILES,
    flux2.FILES,
    qwen_image.FILES,
    z_image.FILES,
    chroma.FILES,
    sd3.FILES,
    sdxl_refiner.FILES,
    playground.FILES,
    sdxl.FILES,
    sd2.FILES,
    sd1.FILES,
)
"""Files are shown to each in this order: the last accept what only looks like one of theirs, and say what is
missing."""

BY_FAMILY: Mapping[Family, FamilyFiles] = {files.family: files for files in ALL}


def find_by_index(index: Json, read: ReadJson) -> FamilyFiles | None:
    """Return the family of a diffusers folder from its model_index.json, None when it is of none that is known here;
    `read` reads the folder's other configurations."""
    pipeline = str(index.get("_class_name"))  # a list, where a folder brings code of its own
    return next((files for files in ALL if pipeline in files.pipelines and files.claims(index, read)), None)
