"""One module per model family: how its files are recognised. Torch is not needed."""

from __future__ import annotations

from collections.abc import Mapping

from webui.weights.families import flux, sd1, sdxl
from webui.weights.families.family import FamilyFiles

ALL: tuple[FamilyFiles, ...] = (flux.FILES, sdxl.FILES, sd1.FILES)
"""Single files are shown to each in this order: the last accept what only looks like one of theirs, and say what is
missing."""

BY_PIPELINE: Mapping[str, FamilyFiles] = {pipeline: files for files in ALL for pipeline in files.pipelines}
"""Class of a diffusers pipeline → the family its folders are of."""
