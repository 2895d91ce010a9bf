"""What the user can prefer: one frozen model, each field under its own name and A1111's option name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from PIL import features
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from webui.domain.frozen import Data
from webui.domain.plan import EmphasisMode, ImageFormat, VaeMethod
from webui.domain.sampling_options import MAX_SEED, Source
from webui.errors import BadRequest, NotAllowed
from webui.storage import check_name

SAVING = "Saving images"
STABLE_DIFFUSION = "Stable Diffusion"
PROMPT = "Prompt"
IMG2IMG = "img2img"
PREVIEWS = "Live previews"
GRIDS = "Image grids"
SAMPLING = "Sampler parameters"
UPSCALING = "Upscaling"
INFOTEXT = "Infotext"


def _shown(section: str, label: str, **extra: str | int | float) -> dict[str, Any]:
    return {"section": section, "label": label, **extra}


def _split(value: object) -> object:
    """Return names with commas between as several; anything else stays what it is."""
    if value is None:
        return ()
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


class Settings(Data):
    """All preferences. Each field answers to its own name and to A1111's option name (its alias).

    The `outdir_…` start with `outputs/`, which stands for the outputs folder wherever that is.
    """

    model_config = ConfigDict(populate_by_name=True)

    model: Annotated[
        str | None,
        Field(alias="sd_model_checkpoint", json_schema_extra=_shown(STABLE_DIFFUSION, "Checkpoint")),
    ] = None
    vae: Annotated[
        str,
        Field(
            alias="sd_vae",
            max_length=500,
            description="Automatic: the file beside the checkpoint that has its name, else the checkpoint's own. "
            "None: the checkpoint's own.",
            json_schema_extra=_shown(STABLE_DIFFUSION, "SD VAE"),
        ),
    ] = "Automatic"
    modules: Annotated[
        tuple[Annotated[str, Field(max_length=1000)], ...],
        BeforeValidator(_split),
        Field(
            alias="forge_additional_modules",
            max_length=20,
            description="Files in the place of a checkpoint's own parts, by their names, with commas between. Empty: "
            "what a checkpoint lacks is looked for in models/VAE and models/text_encoder.",
            json_schema_extra=_shown(STABLE_DIFFUSION, "VAE / Text Encoder"),
        ),
    ] = ()
    fp8_storage: Annotated[
        Literal["Disable", "Enable for SDXL", "Enable"],
        Field(
            alias="fp8_storage",
            description="Keep the layers of the network in 8-bit floats: half the memory of 16 bits, nearly the same "
            "pictures. Each layer computes as before.",
            json_schema_extra=_shown(STABLE_DIFFUSION, "FP8 weight"),
        ),
    ] = "Disable"
    hash_models: Annotated[
        bool,
        Field(
            alias="hash_models_in_background",
            description="Read models that were never hashed while no job runs. Otherwise one is read when it is first "
            "used, which takes a few seconds for each gigabyte.",
            json_schema_extra=_shown(STABLE_DIFFUSION, "Compute hashes of models in the background"),
        ),
    ] = True
    encode_method: Annotated[
        VaeMethod,
        Field(
            alias="sd_vae_encode_method",
            description="What brings pictures to latents in img2img, inpainting and second passes.",
            json_schema_extra=_shown(STABLE_DIFFUSION, "VAE type for encode"),
        ),
    ] = "Full"
    decode_method: Annotated[
        VaeMethod,
        Field(
            alias="sd_vae_decode_method",
            description="What brings latents to pictures. TAESD is faster and a little less exact; "
            "it needs taesd_decoder.safetensors in models/VAE-approx.",
            json_schema_extra=_shown(STABLE_DIFFUSION, "VAE type for decode"),
        ),
    ] = "Full"
    clip_skip: Annotated[
        int,
        Field(
            alias="CLIP_stop_at_last_layers",
            ge=1,
            le=12,
            description="Leave out the last layers of the text encoder; 1 leaves out none, anime models often want 2.",
            json_schema_extra=_shown(STABLE_DIFFUSION, "Clip skip", step=1),
        ),
    ] = 1
    emphasis: Annotated[
        EmphasisMode,
        Field(
            alias="emphasis",
            description="What (more:1.3) does. None: brackets are text. Ignore: they do nothing. No norm: the weighted "
            "prompt is not brought back to its mean.",
            json_schema_extra=_shown(PROMPT, "Emphasis mode"),
        ),
    ] = "Original"
    comma_backtrack: Annotated[
        int,
        Field(
            alias="comma_padding_backtrack",
            ge=0,
            le=74,
            description="How many tokens back to look for a comma when a chunk of 75 tokens is full. 0: do not look.",
            json_schema_extra=_shown(PROMPT, "Prompt word wrap length limit", step=1),
        ),
    ] = 20
    dynamic_prompts: Annotated[
        bool,
        Field(
            alias="easel_dynamic_prompts",
            description="Let {a|b} and __wildcard__ stand for another text in each image.",
            json_schema_extra=_shown(PROMPT, "Dynamic prompts and wildcards"),
        ),
    ] = True
    prompt_comments: Annotated[
        bool,
        Field(
            alias="enable_prompt_comments",
            description="Leave out everything from # to the end of the line.",
            json_schema_extra=_shown(PROMPT, "Enable comments in prompts"),
        ),
    ] = True
    save_images: Annotated[
        bool, Field(alias="samples_save", json_schema_extra=_shown(SAVING, "Save all generated images"))
    ] = True
    filename_pattern: Annotated[
        str,
        Field(
            alias="samples_filename_pattern",
            max_length=500,
            description="For example [seed]-[prompt_words]. Empty: [seed].",
            json_schema_extra=_shown(SAVING, "Images filename pattern"),
        ),
    ] = ""
    number_files: Annotated[
        bool,
        Field(alias="save_images_add_number", json_schema_extra=_shown(SAVING, "Add number to filename when saving")),
    ] = True
    save_to_dirs: Annotated[
        bool, Field(alias="save_to_dirs", json_schema_extra=_shown(SAVING, "Save images to a subdirectory"))
    ] = True
    directory_pattern: Annotated[
        str,
        Field(
            alias="directories_filename_pattern",
            max_length=500,
            description="For example [date] or [model_name]/[date].",
            json_schema_extra=_shown(SAVING, "Directory name pattern"),
        ),
    ] = "[date]"
    prompt_words: Annotated[
        int,
        Field(
            alias="directories_max_prompt_words",
            ge=1,
            le=20,
            json_schema_extra=_shown(SAVING, "Max prompt words for [prompt_words] pattern", step=1),
        ),
    ] = 8
    outdir_txt2img: Annotated[
        str,
        Field(
            alias="outdir_txt2img_samples",
            max_length=500,
            description="A folder below outputs/.",
            json_schema_extra=_shown(SAVING, "Output directory for txt2img images"),
        ),
    ] = "outputs/txt2img-images"
    outdir_img2img: Annotated[
        str,
        Field(
            alias="outdir_img2img_samples",
            max_length=500,
            description="A folder below outputs/.",
            json_schema_extra=_shown(SAVING, "Output directory for img2img images"),
        ),
    ] = "outputs/img2img-images"
    outdir_extras: Annotated[
        str,
        Field(
            alias="outdir_extras_samples",
            max_length=500,
            description="A folder below outputs/.",
            json_schema_extra=_shown(SAVING, "Output directory for images from extras tab"),
        ),
    ] = "outputs/extras-images"
    outdir_txt2img_grids: Annotated[
        str,
        Field(
            alias="outdir_txt2img_grids",
            max_length=500,
            description="A folder below outputs/.",
            json_schema_extra=_shown(SAVING, "Output directory for txt2img grids"),
        ),
    ] = "outputs/txt2img-grids"
    outdir_img2img_grids: Annotated[
        str,
        Field(
            alias="outdir_img2img_grids",
            max_length=500,
            description="A folder below outputs/.",
            json_schema_extra=_shown(SAVING, "Output directory for img2img grids"),
        ),
    ] = "outputs/img2img-grids"
    image_format: Annotated[
        ImageFormat,
        Field(
            alias="samples_format",
            description="PNG keeps every pixel; the others are smaller. All carry the generation parameters.",
            json_schema_extra=_shown(SAVING, "File format for images"),
        ),
    ] = "png"
    quality: Annotated[
        int,
        Field(
            alias="jpeg_quality",
            ge=1,
            le=100,
            json_schema_extra=_shown(SAVING, "Quality for saved JPEG, WebP and AVIF images", step=1),
        ),
    ] = 80
    lossless_webp: Annotated[
        bool,
        Field(alias="webp_lossless", json_schema_extra=_shown(SAVING, "Use lossless compression for WebP images")),
    ] = False
    save_grids: Annotated[
        bool,
        Field(
            alias="grid_save",
            description="An image of all images of a job.",
            json_schema_extra=_shown(GRIDS, "Always save all generated image grids"),
        ),
    ] = True
    grid_format: Annotated[
        ImageFormat, Field(alias="grid_format", json_schema_extra=_shown(GRIDS, "File format for grids"))
    ] = "png"
    grid_only_if_multiple: Annotated[
        bool,
        Field(
            alias="grid_only_if_multiple",
            json_schema_extra=_shown(GRIDS, "Do not save grids consisting of one picture"),
        ),
    ] = True
    grid_rows: Annotated[
        int,
        Field(
            alias="n_rows",
            ge=-1,
            le=16,
            description="-1: about as many rows as columns. 0: as many as the batch has images.",
            json_schema_extra=_shown(GRIDS, "Grid row count", step=1),
        ),
    ] = -1
    grid_without_gaps: Annotated[
        bool,
        Field(
            alias="grid_prevent_empty_spots",
            json_schema_extra=_shown(GRIDS, "Prevent empty spots in grid (when set to autodetect)"),
        ),
    ] = False
    save_text: Annotated[
        bool,
        Field(
            alias="save_txt",
            json_schema_extra=_shown(SAVING, "Create a text file next to every image with generation parameters"),
        ),
    ] = False
    img2img_exact_steps: Annotated[
        bool,
        Field(
            alias="img2img_fix_steps",
            description="Normally less denoising strength means fewer steps.",
            json_schema_extra=_shown(IMG2IMG, "With img2img, do exactly the amount of steps the slider specifies"),
        ),
    ] = False
    img2img_colour_correction: Annotated[
        bool,
        Field(
            alias="img2img_color_correction",
            json_schema_extra=_shown(IMG2IMG, "Apply color correction to img2img results to match original colors"),
        ),
    ] = False
    mask_weight: Annotated[
        float,
        Field(
            alias="inpainting_mask_weight",
            ge=0,
            le=1,
            description="With checkpoints made for inpainting: how much of what is under the mask is hidden from them.",
            json_schema_extra=_shown(IMG2IMG, "Inpainting conditioning mask strength", step=0.01),
        ),
    ] = 1.0
    noise_multiplier: Annotated[
        float,
        Field(
            alias="initial_noise_multiplier",
            ge=0,
            le=1.5,
            json_schema_extra=_shown(IMG2IMG, "Noise multiplier for img2img", step=0.001),
        ),
    ] = 1.0
    extra_noise: Annotated[
        float,
        Field(
            alias="img2img_extra_noise",
            ge=0,
            le=1,
            description="Noise on top of what the first step expects, in img2img and second passes; it adds detail.",
            json_schema_extra=_shown(IMG2IMG, "Extra noise for img2img and hires fix", step=0.01),
        ),
    ] = 0.0
    background: Annotated[
        str,
        Field(
            alias="img2img_background_color",
            pattern=r"^#[0-9a-fA-F]{6}$",
            description="What shows through where a picture is transparent, as #rrggbb.",
            json_schema_extra=_shown(
                IMG2IMG, "With img2img, fill transparent parts of the input image with this color"
            ),
        ),
    ] = "#ffffff"
    guidance_minimum: Annotated[
        float,
        Field(
            alias="s_min_uncond",
            ge=0,
            le=15,
            description="Below this sigma, every second step goes without the negative prompt; faster. 0: none does.",
            json_schema_extra=_shown(SAMPLING, "Negative guidance minimum sigma", step=0.01),
        ),
    ] = 0.0
    noise_source: Annotated[
        Source,
        Field(
            alias="randn_source",
            description="CPU gives the same picture on every machine. NV draws what an Nvidia GPU would, without one.",
            json_schema_extra=_shown(SAMPLING, "Random number generator source"),
        ),
    ] = "CPU"
    eta_ancestral: Annotated[
        float,
        Field(
            alias="eta_ancestral",
            ge=0,
            le=1,
            description="How much noise ancestral and SDE samplers renew.",
            json_schema_extra=_shown(SAMPLING, "Eta for k-diffusion samplers", step=0.01),
        ),
    ] = 1.0
    eta_ddim: Annotated[
        float,
        Field(
            alias="eta_ddim",
            ge=0,
            le=1,
            json_schema_extra=_shown(SAMPLING, "Eta for DDIM", step=0.01),
        ),
    ] = 0.0
    churn: Annotated[
        float,
        Field(
            alias="s_churn",
            ge=0,
            le=100,
            description="Noise that Euler, Heun and DPM2 add before their steps.",
            json_schema_extra=_shown(SAMPLING, "Sigma churn", step=0.01),
        ),
    ] = 0.0
    tmin: Annotated[
        float,
        Field(
            alias="s_tmin",
            ge=0,
            le=1000,
            description="No churn below this sigma.",
            json_schema_extra=_shown(SAMPLING, "Sigma tmin", step=0.01),
        ),
    ] = 0.0
    tmax: Annotated[
        float,
        Field(
            alias="s_tmax",
            ge=0,
            le=1000,
            description="No churn above this sigma; 0: no limit.",
            json_schema_extra=_shown(SAMPLING, "Sigma tmax", step=0.01),
        ),
    ] = 0.0
    noise: Annotated[
        float,
        Field(
            alias="s_noise",
            ge=0,
            le=2,
            description="A factor for all noise that samplers add.",
            json_schema_extra=_shown(SAMPLING, "Sigma noise", step=0.001),
        ),
    ] = 1.0
    sigma_min: Annotated[
        float,
        Field(
            alias="sigma_min",
            ge=0,
            le=2,
            description="The lowest noise level of schedules; 0: the model's.",
            json_schema_extra=_shown(SAMPLING, "Sigma min", step=0.01),
        ),
    ] = 0.0
    sigma_max: Annotated[
        float,
        Field(
            alias="sigma_max",
            ge=0,
            le=60,
            description="The highest noise level of schedules; 0: the model's.",
            json_schema_extra=_shown(SAMPLING, "Sigma max", step=0.01),
        ),
    ] = 0.0
    rho: Annotated[
        float,
        Field(
            alias="rho",
            ge=0,
            le=20,
            description="The curve of Karras and Polyexponential; 0: the schedule's own.",
            json_schema_extra=_shown(SAMPLING, "Rho", step=0.01),
        ),
    ] = 0.0
    seed_delta: Annotated[
        int,
        Field(
            alias="eta_noise_seed_delta",
            ge=-MAX_SEED,
            le=MAX_SEED,
            description="ENSD: added to the seed for the noise of ancestral samplers.",
            json_schema_extra=_shown(SAMPLING, "Eta noise seed delta", step=1),
        ),
    ] = 0
    discard_penultimate: Annotated[
        bool,
        Field(
            alias="always_discard_next_to_last_sigma",
            json_schema_extra=_shown(SAMPLING, "Always discard next-to-last sigma"),
        ),
    ] = False
    beta_alpha: Annotated[
        float,
        Field(
            alias="beta_dist_alpha",
            ge=0.01,
            le=5,
            json_schema_extra=_shown(SAMPLING, "Beta scheduler: alpha", step=0.01),
        ),
    ] = 0.6
    beta_beta: Annotated[
        float,
        Field(
            alias="beta_dist_beta",
            ge=0.01,
            le=5,
            json_schema_extra=_shown(SAMPLING, "Beta scheduler: beta", step=0.01),
        ),
    ] = 0.6
    upscaler_tile: Annotated[
        int,
        Field(
            alias="ESRGAN_tile",
            ge=0,
            le=2048,
            description="Pixels of a picture that an upscaler sees at once. Smaller tiles need less memory. "
            "0: the whole picture.",
            json_schema_extra=_shown(UPSCALING, "Tile size for upscalers", step=16),
        ),
    ] = 192
    upscaler_overlap: Annotated[
        int,
        Field(
            alias="ESRGAN_tile_overlap",
            ge=0,
            le=256,
            description="Pixels by which tiles overlap at least. Low values can leave visible seams.",
            json_schema_extra=_shown(UPSCALING, "Tile overlap for upscalers", step=1),
        ),
    ] = 8
    add_model_hash: Annotated[
        bool,
        Field(
            alias="add_model_hash_to_info",
            json_schema_extra=_shown(INFOTEXT, "Add model hash to generation information"),
        ),
    ] = True
    add_model_name: Annotated[
        bool,
        Field(
            alias="add_model_name_to_info",
            json_schema_extra=_shown(INFOTEXT, "Add model name to generation information"),
        ),
    ] = True
    add_version: Annotated[
        bool,
        Field(
            alias="add_version_to_infotext",
            json_schema_extra=_shown(INFOTEXT, "Add program version to generation information"),
        ),
    ] = True
    live_previews: Annotated[
        bool,
        Field(
            alias="live_previews_enable",
            json_schema_extra=_shown(PREVIEWS, "Show live previews of the created image"),
        ),
    ] = True
    preview_every: Annotated[
        int,
        Field(
            alias="show_progress_every_n_steps",
            ge=1,
            le=150,
            json_schema_extra=_shown(PREVIEWS, "Live preview display period, in sampling steps", step=1),
        ),
    ] = 5
    preview_method: Annotated[
        Literal["Full", "Approx NN", "Approx cheap", "TAESD"],
        Field(
            alias="show_progress_type",
            description="Who draws previews. Full: the VAE, slowly. Both Approx: the VAE if it is small, else a map of "
            "colours. TAESD: needs taesd_decoder.safetensors in models/VAE-approx.",
            json_schema_extra=_shown(PREVIEWS, "Live preview method"),
        ),
    ] = "Approx NN"
    preview_size: Annotated[
        int,
        Field(
            alias="live_preview_size",
            ge=64,
            le=1024,
            description="Pixels on the longer side.",
            json_schema_extra=_shown(PREVIEWS, "Live preview size", step=64),
        ),
    ] = 512

    extensions: Annotated[
        Mapping[str, Any], Field(alias="extension_settings", max_length=1000)
    ] = {}  # what was changed of those that extensions offer

    @field_validator("image_format", "grid_format", mode="before")
    @classmethod
    def _writable(cls, value: object) -> object:
        if value == "avif" and not features.check("avif"):
            raise ValueError("Pillow was built without AVIF here: install another build of it, or choose webp")
        return "jpg" if value == "jpeg" else value

    @field_validator(
        "outdir_txt2img", "outdir_img2img", "outdir_extras", "outdir_txt2img_grids", "outdir_img2img_grids"
    )
    @classmethod
    def _below_outputs(cls, value: str) -> str:
        folder, *below = value.replace("\\", "/").rstrip("/").split("/")
        if folder != "outputs" or not below or any(name.startswith(".") for name in below):
            raise ValueError("it must be a folder below outputs/, such as outputs/txt2img-images")
        for name in below:
            try:
                check_name(name)
            except NotAllowed as error:
                raise ValueError(error.message.rstrip(".")) from error
        return "/".join([folder, *below])

    def by_alias(self) -> dict[str, Any]:
        """Return all values under A1111's option names, as JSON types."""
        return self.model_dump(mode="json", by_alias=True)

    def overridden(self, changes: Mapping[str, object]) -> Settings:
        """Return a copy with `changes` (our names or A1111's). Names that mean nothing here are passed over, because
        clients send options of other programs along; `BadRequest` names a value that cannot be."""
        known = {NAMES[name]: value for name, value in changes.items() if name in NAMES}
        try:
            return self.replace(**known)
        except ValidationError as error:
            raise bad_value(error) from error


ALIASES: Mapping[str, str] = {name: field.alias or name for name, field in Settings.model_fields.items()}
"""Field name → A1111's option name."""

NAMES: Mapping[str, str] = {**{alias: name for name, alias in ALIASES.items()}, **{name: name for name in ALIASES}}
"""Field or option name → field name."""


def bad_value(error: ValidationError) -> BadRequest:
    first = error.errors()[0]
    name = NAMES[str(first["loc"][0])]
    reason = first["msg"].removeprefix("Value error, ")
    return BadRequest(f"Setting {ALIASES[name]!r}: {reason}.", hint="Correct the value and save again.", field=name)
