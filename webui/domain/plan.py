"""What a request resolved to: nothing left to look up. Infotext and exact replay are made of this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Discriminator, Tag, TypeAdapter

from webui.domain.frozen import Data
from webui.domain.models import Family
from webui.domain.passes import Tiling
from webui.domain.sampling import find_sampler
from webui.domain.sampling_options import Source
from webui.domain.start import FromImage, FromNoise, Reference, Start, references
from webui.domain.upscaling import UpscalerRef

MOST_SCHEDULE_STEPS = 1000  # as many as noise levels are trained


EmphasisMode = Literal["Original", "No norm", "Ignore", "None"]
"""What `(a:1.3)` does, in A1111's words: the usual; without bringing the mean back; nothing; brackets are text."""


ImageFormat = Literal["png", "jpg", "webp", "avif"]


class PartRef(Data):
    """The exact file of a VAE or a text encoder that is the `component` of a checkpoint."""

    component: str
    name: str
    path: Path
    sha256: str

    @property
    def short_hash(self) -> str:
        return self.sha256[:10]


class ModelRef(Data):
    """The exact model of a plan, with the `parts` that come from files of their own.

    `tokenizer` is the tokenizer.json of T5, where the checkpoint has none of its own. With `eight_bit` its denoiser
    keeps 8-bit floats.
    """

    name: str
    path: Path
    family: Family
    layout: str  # "diffusers" or "original"
    sha256: str
    parts: tuple[PartRef, ...] = ()
    tokenizer: Path | None = None
    eight_bit: bool = False

    @property
    def short_hash(self) -> str:
        return self.sha256[:10]


class PartsPlan(Data):
    """What completes a checkpoint; `unused` are the files chosen by hand that fit nowhere."""

    parts: tuple[PartRef, ...] = ()
    tokenizer: Path | None = None
    unused: tuple[str, ...] = ()


class VaeRef(Data):
    """The exact VAE file that stands in for the checkpoint's own."""

    name: str
    path: Path
    sha256: str

    @property
    def short_hash(self) -> str:
        return self.sha256[:10]


class ImagePlan(Data):
    """One image of a job. `index` counts over all batches (and all parts of a series) from 0.

    The prompts are what dynamic ones became for this image; `template` is what they came from, empty if the same.
    Those of the second pass are None if they are the first one's.
    """

    index: int
    seed: int
    variation_seed: int | None = None
    prompt: str
    negative_prompt: str
    template: str = ""
    negative_template: str = ""
    hires_prompt: str | None = None
    hires_negative_prompt: str | None = None


VaeMethod = Literal["Full", "TAESD"]
"""Who brings pictures to latents and back: the VAE, or its tiny stand-in."""

PreviewMethod = Literal["Full", "Approx", "TAESD"]
"""Who draws previews: the VAE; the VAE if it is small, else a linear map of the latents; TAESD."""


class PreviewPlan(Data):
    """Live previews: one every `every` steps (0: never), at most `size` pixels on the longer side."""

    every: int = 5
    size: int = 512
    method: PreviewMethod = "Approx"


class TaesdPlan(Data):
    """The files of TAESD, a tiny stand-in for the VAE, by what it does. None: the VAE does it, or nobody."""

    encoder: Path | None = None
    decoder: Path | None = None
    preview: Path | None = None  # with the preview method of its name


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
    styles: tuple[str, ...] = ()  # of [styles]
    typed_prompt: str = ""  # the prompt without what styles and templates made of it, of [prompt_no_styles]
    format: ImageFormat = "png"
    quality: int = 80  # of JPEG, WebP and AVIF: 1 to 100
    lossless: bool = False  # WebP without loss
    grid_folder: str = "txt2img-grids"
    grid_format: ImageFormat = "png"
    text: bool = False  # write a .txt with the infotext beside each image


class PicturePlan(Data):
    """What the settings say about jobs that begin with a picture."""

    exact_steps: bool = False  # run the steps that were asked for, instead of the share that `strength` is of them
    colour_correction: bool = False  # give the result the colours of the picture it began with
    noise_multiplier: float = 1.0  # of the noise that is added to the picture
    extra_noise: float = 0.0  # added on top of what the first step expects, as a sigma
    mask_weight: float = 1.0  # how much an inpainting checkpoint is kept from seeing what is under the mask


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


class GuidancePlan(Data):
    """How guidance acts; see `domain.passes.GuidanceOptions`."""

    rescale: float = 0.0
    start: float = 0.0
    end: float = 1.0
    minimum: float = 0.0  # 0: the negative branch is always computed
    image: float | None = None  # None: the model is given no picture to edit


class HiresPlan(Data):
    """The second pass: the result is enlarged to `enlarged`, cropped to `width` × `height`, and sampled again.

    It runs exactly `steps` steps, the end of a schedule of `schedule_steps` (A1111's rule).
    """

    width: int
    height: int
    enlarged: tuple[int, int]
    upscaler: UpscalerRef
    steps: int
    strength: float
    sampler: str
    schedule: str
    guidance: float
    sampling: SamplingPlan
    model: ModelRef | None = None  # None: the first pass's
    scale: float | None = None  # the factor that was asked for; None: a size was

    @property
    def schedule_steps(self) -> int:
        """How many steps the whole schedule has, from pure noise down."""
        return min(MOST_SCHEDULE_STEPS, int(self.steps / max(min(self.strength, 0.999), 1 / MOST_SCHEDULE_STEPS)))


class RefinerPlan(Data):
    """The checkpoint that takes over when the share `switch_at` of the trained noise levels is left behind, counted
    from pure noise. With a second pass it takes over there alone. Both as A1111 has it by default."""

    model: ModelRef
    switch_at: float


class ExtraSampling(Data):
    """The sampler and the schedule of extensions that stand in for the plan's; empty: none."""

    sampler: str = ""
    schedule: str = ""


class TilesPlan(Data):
    """How a picture of `width` × `height` is covered by `count` tiles of the plan's size."""

    width: int
    height: int
    upscaler: UpscalerRef
    count: int


class SheetPlan(Data):
    """Images put together into one: `cells` are indices of images, row by row, None where there is none.

    Rows and columns may have titles; with fewer titles than rows or columns, each stands over an equal share of them.
    `group_titles` stand over equal shares of the columns, above their titles. A sheet is an image of its own whose
    index follows those of all images; `facts` are added to its infotext.
    """

    columns: int
    cells: tuple[int | None, ...]
    row_titles: tuple[str, ...] = ()
    column_titles: tuple[str, ...] = ()
    group_titles: tuple[str, ...] = ()
    title: str = ""
    margin: int = 0  # pixels between cells
    facts: Mapping[str, str] = {}


class Plan(Data):
    """Everything a worker needs for one job, or for one part of a series."""

    kind: Literal["generate"] = "generate"
    model: ModelRef
    sampler: str  # a name of domain.sampling.SAMPLERS
    schedule: str  # the label of domain.sampling.SCHEDULES that was asked for; "Automatic" stays so in the infotext
    steps: int
    guidance: float
    distilled_guidance: float | None = None  # None: the model is told none
    width: int
    height: int
    clip_skip: int = 1
    emphasis: EmphasisMode = "Original"
    comma_backtrack: int = 20  # how many tokens back a comma may lie for the tail behind it to move to the next chunk
    batch_size: int = 1
    images: tuple[ImagePlan, ...]
    vae: VaeRef | None = None  # None: the checkpoint's own
    taesd: TaesdPlan = TaesdPlan()
    tiling: Tiling = "none"
    guiding: GuidancePlan = GuidancePlan()
    hires: HiresPlan | None = None
    refiner: RefinerPlan | None = None
    start: Start = FromNoise()
    tiles: TilesPlan | None = None  # with a start FromTiles
    sampling: SamplingPlan = SamplingPlan()
    variation: VariationPlan = VariationPlan()
    picture: PicturePlan = PicturePlan()
    preview: PreviewPlan = PreviewPlan()
    infotext: InfotextPlan = InfotextPlan()
    save: SavePlan = SavePlan()
    sheets: tuple[SheetPlan, ...] = ()
    keep: bool = True
    notes: tuple[str, ...] = ()  # what the user should know about it, such as a tag that has no effect
    extensions: Mapping[str, Mapping[str, Any]] = {}  # what extensions need in the worker, by their names
    pictures: tuple[str, ...] = ()  # stored ones that they need
    extra: ExtraSampling = ExtraSampling()
    facts: Mapping[str, str] = {}  # what they add to the infotext

    def told(
        self,
        name: str,
        facts: Data,
        infotext: Mapping[str, str] | None = None,
        notes: Sequence[str] = (),
        pictures: Sequence[str] = (),
    ) -> Plan:
        """Return the plan with what the extension `name` needs in the worker, and what it says about the image.

        Of `pictures`, references to stored ones, those need not be named that the request's options name.
        """
        return self.replace(
            extensions={**self.extensions, name: facts.model_dump(mode="json")},
            pictures=tuple(dict.fromkeys((*self.pictures, *pictures))),
            facts={**self.facts, **(infotext or {})},
            notes=(*self.notes, *notes),
        )

    @property
    def further_prompts(self) -> tuple[str, ...]:
        """What extensions will paint besides the images' prompts: the `prompts` among their facts."""
        return tuple(text for facts in self.extensions.values() for text in facts.get("prompts", ()))

    def part(self, index: int) -> Plan:
        """Return the plan that image `index` belongs to."""
        return self

    def image(self, index: int) -> ImagePlan:
        """Return image `index`; `KeyError` when there is none."""
        return _image(self.images, index)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the finished images, pixels (of a masked region: as it is painted)."""
        whole = self.hires or self.tiles or self
        return whole.width, whole.height

    @property
    def total_steps(self) -> int:
        """How many steps one batch takes, with all its passes."""
        runs = -(-self.tiles.count // self.batch_size) if self.tiles else 1
        return self.run_steps * runs + (self.hires.steps if self.hires else 0)

    @property
    def begins_with_second_pass(self) -> bool:
        """Whether a finished picture stands for the first pass's result, so that none of its steps is run."""
        return self.hires is not None and isinstance(self.start, FromImage)

    @property
    def batches(self) -> tuple[tuple[ImagePlan, ...], ...]:
        """The images in groups that are computed together."""
        names = [self.sampler, self.hires.sampler] if self.hires else [self.sampler]
        alone = self.tiles or self.model.family is Family.OTHER
        size = 1 if alone or any(find_sampler(name).one_at_a_time for name in names) else self.batch_size
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
        if self.begins_with_second_pass:
            return 0
        if isinstance(self.start, FromNoise) or self.picture.exact_steps:
            return self.steps
        return min(self.steps, int(self.start.strength * self.steps) + 1)


class SeriesPlan(Data):
    """Several plans carried out one after the other as one job: what a script made of a request.

    The indices of the images count through all parts. `chained`: each part begins with the pictures of the one before.
    `only_sheets`: the images are made for the sheets, and who asked wants to see those alone.
    """

    kind: Literal["series"] = "series"
    script: str
    parts: tuple[Plan, ...]
    chained: bool = False
    sheets: tuple[SheetPlan, ...] = ()
    only_sheets: bool = False
    notes: tuple[str, ...] = ()

    @property
    def keep(self) -> bool:
        return self.parts[0].keep

    @property
    def save(self) -> SavePlan:
        """How images are saved: all parts are alike in that."""
        return self.parts[0].save

    @property
    def images(self) -> tuple[ImagePlan, ...]:
        return tuple(image for part in self.parts for image in part.images)

    @property
    def batches(self) -> tuple[tuple[ImagePlan, ...], ...]:
        return tuple(batch for part in self.parts for batch in part.batches)

    @property
    def total_steps(self) -> int:
        """How many steps the first batch takes; the others say so when they begin."""
        return self.parts[0].total_steps

    def part(self, index: int) -> Plan:
        """Return the part that image `index` belongs to; `KeyError` when there is none."""
        for part in self.parts:
            if part.images[0].index <= index <= part.images[-1].index:
                return part
        raise KeyError(index)

    def image(self, index: int) -> ImagePlan:
        """Return image `index`; `KeyError` when there is none."""
        return self.part(index).image(index)


class UpscaleImage(Data):
    """One picture to be enlarged; `infotext` is what its file said about how it was made."""

    index: int
    picture: Reference
    infotext: str = ""
    seed: int = 0


class UpscalePlan(Data):
    """Pictures to be enlarged and nothing else; see `domain.request.UpscaleRequest`."""

    kind: Literal["upscale"] = "upscale"
    images: tuple[UpscaleImage, ...]
    upscaler: UpscalerRef
    second_upscaler: UpscalerRef | None = None
    second_share: float = 0.0
    scale: float = 4.0
    width: int | None = None
    height: int | None = None
    crop: bool = True
    save: SavePlan = SavePlan(folder="extras-images")
    keep: bool = True
    notes: tuple[str, ...] = ()

    @property
    def sheets(self) -> tuple[SheetPlan, ...]:
        return ()

    @property
    def batches(self) -> tuple[tuple[UpscaleImage, ...], ...]:
        return tuple((image,) for image in self.images)

    @property
    def total_steps(self) -> int:
        return 1

    def image(self, index: int) -> UpscaleImage:
        """Return image `index`; `KeyError` when there is none."""
        return _image(self.images, index)


class PreprocessPlan(Data):
    """A picture made ready for a control network; see `domain.request.PreprocessRequest`."""

    kind: Literal["preprocess"] = "preprocess"
    images: tuple[UpscaleImage, ...]  # one
    preprocessor: str
    options: Mapping[str, Any] = {}
    save: SavePlan = SavePlan()
    keep: bool = False
    notes: tuple[str, ...] = ()

    @property
    def sheets(self) -> tuple[SheetPlan, ...]:
        return ()

    @property
    def batches(self) -> tuple[tuple[UpscaleImage, ...], ...]:
        return (self.images,)

    @property
    def total_steps(self) -> int:
        return 1

    def image(self, index: int) -> UpscaleImage:
        """Return image `index`; `KeyError` when there is none."""
        return _image(self.images, index)


NumberedImage = TypeVar("NumberedImage", ImagePlan, UpscaleImage)


def _image(images: Sequence[NumberedImage], index: int) -> NumberedImage:
    position = index - images[0].index
    if not 0 <= position < len(images):
        raise KeyError(index)
    return images[position]


AnyPlan = Plan | SeriesPlan | UpscalePlan | PreprocessPlan


def _kind(value: Any) -> str:
    """Return which kind of plan `value` is. What says nothing is a generation, as all plans once were."""
    return str(value.get("kind", "generate") if isinstance(value, Mapping) else getattr(value, "kind", "generate"))


TaggedPlan = Annotated[
    Annotated[Plan, Tag("generate")]
    | Annotated[SeriesPlan, Tag("series")]
    | Annotated[UpscalePlan, Tag("upscale")]
    | Annotated[PreprocessPlan, Tag("preprocess")],
    Discriminator(_kind),
]
"""`AnyPlan` as a field of a model."""

PLANS: TypeAdapter[AnyPlan] = TypeAdapter(TaggedPlan)


def pictures_of(plan: AnyPlan) -> tuple[str, ...]:
    """Return every stored picture a plan needs, each once."""
    match plan:
        case UpscalePlan() | PreprocessPlan():
            needed = [image.picture for image in plan.images]
        case SeriesPlan():
            parts = plan.parts[:1] if plan.chained else plan.parts
            needed = [reference for part in parts for reference in references(part.start)]
            needed += [reference for part in plan.parts for reference in part.pictures]
        case _:
            needed = [*references(plan.start), *plan.pictures]
    return tuple(dict.fromkeys(needed))
