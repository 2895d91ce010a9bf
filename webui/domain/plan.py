"""What a request resolved to: nothing left to look up. Infotext and exact replay are made of this."""

from __future__ import annotations

from pathlib import Path

from webui.domain.frozen import Data
from webui.domain.models import Family


class ModelRef(Data):
    """The exact model of a plan."""

    name: str
    path: Path
    family: Family
    layout: str  # "diffusers" or "original"
    sha256: str

    @property
    def short_hash(self) -> str:
        return self.sha256[:10]


class ImagePlan(Data):
    """One image of a job. `index` counts over all batches from 0."""

    index: int
    seed: int
    prompt: str
    negative_prompt: str


class PreviewPlan(Data):
    """Live previews: one every `every` steps (0: never), at most `size` pixels on the longer side."""

    every: int = 5
    size: int = 512


class InfotextPlan(Data):
    """Which facts about the program go into the infotext besides what makes the image."""

    model_hash: bool = True
    model_name: bool = True
    version: bool = True


class SavePlan(Data):
    """Where finished images go: patterns in A1111's language, resolved when the file is written."""

    folder: str = "txt2img-images"  # below the outputs folder
    directory: str = "[date]"  # a folder in it; empty: none
    name: str = ""  # empty: [seed]
    number: bool = True  # put a running number before the name
    prompt_words: int = 8  # of [prompt_words]
    text: bool = False  # write a .txt with the infotext beside each image


class Plan(Data):
    """Everything a worker needs for one job."""

    model: ModelRef
    sampler: str  # a name of domain.sampling.SAMPLERS
    schedule: str  # the label of domain.sampling.SCHEDULES that was asked for; "Automatic" stays so in the infotext
    steps: int
    guidance: float
    width: int
    height: int
    clip_skip: int = 1
    batch_size: int = 1
    images: tuple[ImagePlan, ...]
    preview: PreviewPlan = PreviewPlan()
    infotext: InfotextPlan = InfotextPlan()
    save: SavePlan = SavePlan()
    keep: bool = True

    @property
    def batches(self) -> tuple[tuple[ImagePlan, ...], ...]:
        """The images in groups that are computed together."""
        size = self.batch_size
        return tuple(self.images[start : start + size] for start in range(0, len(self.images), size))
