"""What a request resolved to: nothing left to look up. Infotext and exact replay are made of this."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from webui.domain.frozen import Data
from webui.domain.models import Family
from webui.domain.sampling import find_sampler
from webui.domain.sampling_options import Source
from webui.domain.start import FromNoise, Start

MOST_SCHEDULE_STEPS = 1000  # as many as noise levels are trained


EmphasisMode = Literal["Original", "No norm", "Ignore", "None"]
"""What `(a:1.3)` does, in A1111's words: the usual; without bringing the mean back; nothing; brackets are text."""


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
    """One image of a job. `index` counts over all batches from 0.

    The prompts are what dynamic ones became for this image; `template` is what they came from, empty if the same.
    """

    index: int
    seed: int
    variation_seed: int | None = None
    prompt: str
    negative_prompt: str
    template: str = ""
    negative_template: str = ""


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


class PicturePlan(Data):
    """What the settings say about jobs that begin with a picture."""

    exact_steps: bool = False  # run the steps that were asked for, instead of the share that `strength` is of them
    colour_correction: bool = False  # give the result the colours of the picture it began with


class VariationPlan(Data):
    """How the images' noise comes from their seeds and variation seeds; see `domain.sampling_options.Variation`."""

    strength: float = 0.0
    resize_from: tuple[int, int] | None = None  # width and height, pixels


class SamplingPlan(Data):
    """The options of sampler, schedule and noise; see `domain.sampling_options.SamplingOptions`."""

    eta: float | None = None  # None: the sampler has none
    churn: float = 0.0
    tmin: float = 0.0
    tmax: float = 0.0
    noise: float = 1.0
    sigma_min: float = 0.0
    sigma_max: float = 0.0
    rho: float = 0.0
    beta_alpha: float = 0.6
    beta_beta: float = 0.6
    discard_penultimate: bool = False
    noise_source: Source = "CPU"
    seed_delta: int = 0


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
    emphasis: EmphasisMode = "Original"
    comma_backtrack: int = 20  # how many tokens back a comma may lie for the tail behind it to move to the next chunk
    batch_size: int = 1
    images: tuple[ImagePlan, ...]
    start: Start = FromNoise()
    sampling: SamplingPlan = SamplingPlan()
    variation: VariationPlan = VariationPlan()
    picture: PicturePlan = PicturePlan()
    preview: PreviewPlan = PreviewPlan()
    infotext: InfotextPlan = InfotextPlan()
    save: SavePlan = SavePlan()
    keep: bool = True
    notes: tuple[str, ...] = ()  # what the user should know about it, such as a tag that has no effect

    @property
    def batches(self) -> tuple[tuple[ImagePlan, ...], ...]:
        """The images in groups that are computed together."""
        size = 1 if find_sampler(self.sampler).one_at_a_time else self.batch_size
        return tuple(self.images[start : start + size] for start in range(0, len(self.images), size))

    @property
    def schedule_steps(self) -> int:
        """How many steps the whole schedule has, from pure noise down."""
        if isinstance(self.start, FromNoise) or not self.picture.exact_steps:
            return self.steps
        return min(MOST_SCHEDULE_STEPS, int(self.steps / max(self.start.strength, 1 / MOST_SCHEDULE_STEPS)))

    @property
    def run_steps(self) -> int:
        """How many of them are run, counted from the end; the picture is noised to where they begin.

        With a picture as the start that is one more than the share `strength` of them, as in A1111: at strength 0 the
        last step alone is run.
        """
        if isinstance(self.start, FromNoise) or self.picture.exact_steps:
            return self.steps
        return min(self.steps, int(self.start.strength * self.steps) + 1)
