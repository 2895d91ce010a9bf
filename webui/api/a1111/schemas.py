"""A1111 1.10's JSON, field for field: names, defaults and schema titles are what generated clients were built on."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from webui.domain.start import MAX_PICTURES


class Incoming(BaseModel):
    """A request body: unknown keys are ignored, numbers may be text, null means the default."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value is not None}


class Processing(Incoming):
    """What txt2img and img2img have in common."""

    prompt: str = ""
    negative_prompt: str = ""
    styles: list[str] = []
    seed: int = -1
    subseed: int = -1
    subseed_strength: float = 0
    seed_resize_from_h: int = -1
    seed_resize_from_w: int = -1
    sampler_name: str | None = None
    scheduler: str | None = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    restore_faces: bool = False
    tiling: bool = False
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    eta: float | None = None
    s_min_uncond: float | None = None
    s_churn: float | None = None
    s_tmax: float | None = None
    s_tmin: float | None = None
    s_noise: float | None = None
    override_settings: dict[str, Any] = {}
    override_settings_restore_afterwards: bool = True
    refiner_checkpoint: str | None = None
    refiner_switch_at: float | None = None
    disable_extra_networks: bool = False
    firstpass_image: str | None = None
    comments: dict[str, Any] = {}
    force_task_id: str | None = None
    sampler_index: str = "Euler"
    script_name: str | None = None
    script_args: list[Any] = []
    send_images: bool = True
    save_images: bool = False
    alwayson_scripts: dict[str, Any] = {}
    infotext: str | None = None


class StableDiffusionProcessingTxt2Img(Processing):
    enable_hr: bool = False
    denoising_strength: float = 0.75
    firstphase_width: int = 0
    firstphase_height: int = 0
    hr_scale: float = 2.0
    hr_upscaler: str | None = None
    hr_second_pass_steps: int = 0
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    hr_checkpoint_name: str | None = None
    hr_sampler_name: str | None = None
    hr_scheduler: str | None = None
    hr_prompt: str = ""
    hr_negative_prompt: str = ""
    hr_cfg: float | None = Field(default=None, description="Forge's: the guidance of the second pass.")
    hr_additional_modules: list[str] = Field(default=[], description="Forge's: only those of the first pass.")


class StableDiffusionProcessingImg2Img(Processing):
    init_images: list[str] | None = None
    resize_mode: int = 0
    denoising_strength: float = 0.75
    image_cfg_scale: float | None = None
    mask: str | None = None
    mask_blur: int | None = None
    mask_blur_x: int = 4
    mask_blur_y: int = 4
    mask_round: bool = True
    inpainting_fill: int = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = 0
    inpainting_mask_invert: int = 0
    initial_noise_multiplier: float | None = None
    latent_mask: str | None = None
    include_init_images: bool = False


class TextToImageResponse(BaseModel):
    images: list[str] = Field(description="The generated images in base64 format.")
    parameters: dict[str, Any]
    info: str = Field(description="JSON text.")


class ImageToImageResponse(BaseModel):
    images: list[str] = Field(description="The generated images in base64 format.")
    parameters: dict[str, Any]
    info: str = Field(description="JSON text.")


Visibility = Annotated[float, Field(ge=0, le=1)]


class ExtrasBaseRequest(Incoming):
    """What extra-single-image and extra-batch-images have in common."""

    resize_mode: int = Field(
        default=0, ge=0, le=1, description="0: by upscaling_resize; 1: to upscaling_resize_w × upscaling_resize_h."
    )
    show_extras_results: bool = True
    gfpgan_visibility: Visibility = 0
    codeformer_visibility: Visibility = 0
    codeformer_weight: Visibility = 0
    upscaling_resize: float = Field(default=2, gt=0)
    upscaling_resize_w: int = Field(default=512, ge=1)
    upscaling_resize_h: int = Field(default=512, ge=1)
    upscaling_crop: bool = True
    upscaler_1: str = "None"
    upscaler_2: str = "None"
    extras_upscaler_2_visibility: Visibility = 0
    upscale_first: bool = False


class ExtrasSingleImageRequest(ExtrasBaseRequest):
    image: str = Field(default="", description="The base64 encoded image, with or without a data: prefix.")


class FileData(Incoming):
    data: str = Field(description="The base64 encoded file.")
    name: str = ""


class ExtrasBatchImagesRequest(ExtrasBaseRequest):
    image_list: list[FileData] = Field(alias="imageList", title="Images", max_length=MAX_PICTURES)


class ExtrasSingleImageResponse(BaseModel):
    html_info: str = Field(description="What was done, as a paragraph of HTML.")
    image: str | None = Field(default=None, description="The image in base64 format.")


class ExtrasBatchImagesResponse(BaseModel):
    html_info: str = Field(description="What was done, as a paragraph of HTML.")
    images: list[str] = Field(description="The images in base64 format.")


class InterrogateRequest(Incoming):
    image: str = ""
    model: str = "clip"


class PNGInfoRequest(Incoming):
    image: str = Field(description="The base64 encoded image, with or without a data: prefix.")


class PNGInfoResponse(BaseModel):
    info: str = Field(description="The infotext, or nothing.")
    items: dict[str, Any] = Field(description="All texts found in the image.")
    parameters: dict[str, Any] = Field(description="The infotext, parsed.")


class ProgressResponse(BaseModel):
    progress: float = Field(description="0 to 1; 0 when idle.")
    eta_relative: float = Field(description="Seconds to go.")
    state: dict[str, Any]
    current_image: str | None = Field(default=None, description="The newest live preview in base64 format.")
    textinfo: str | None = None


class SDModelItem(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    title: str
    model_name: str
    hash: str | None = None
    sha256: str | None = None
    filename: str
    config: str | None = None


class SamplerItem(BaseModel):
    name: str
    aliases: list[str]
    options: dict[str, str]


class SchedulerItem(BaseModel):
    name: str
    label: str
    aliases: list[str] | None = None
    default_rho: float | None = None
    need_inner_model: bool | None = None


class SDVaeItem(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    filename: str


class UpscalerItem(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    name: str
    model_name: str | None = None
    model_path: str | None = None
    model_url: str | None = None
    scale: float | None = None


class LatentUpscalerModeItem(BaseModel):
    name: str


class HypernetworkItem(BaseModel):
    name: str
    path: str | None = None


class FaceRestorerItem(BaseModel):
    name: str
    cmd_dir: str | None = None


class RealesrganItem(BaseModel):
    name: str
    path: str | None = None
    scale: int | None = None


class PromptStyleItem(BaseModel):
    name: str
    prompt: str | None = None
    negative_prompt: str | None = None


class EmbeddingItem(BaseModel):
    step: int | None = None
    sd_checkpoint: str | None = None
    sd_checkpoint_name: str | None = None
    shape: int
    vectors: int


class EmbeddingsResponse(BaseModel):
    loaded: dict[str, EmbeddingItem]
    skipped: dict[str, EmbeddingItem]


class MemoryResponse(BaseModel):
    ram: dict[str, Any]
    cuda: dict[str, Any]


class ScriptsList(BaseModel):
    txt2img: list[str]
    img2img: list[str]


class ScriptArg(BaseModel):
    label: str | None = None
    value: Any = None
    minimum: Any = None
    maximum: Any = None
    step: Any = None
    choices: list[str] | None = None


class ScriptInfo(BaseModel):
    name: str | None = None
    is_alwayson: bool | None = None
    is_img2img: bool | None = None
    args: list[ScriptArg]


class Options(BaseModel):
    """All settings under A1111's option names."""

    model_config = ConfigDict(extra="allow")

    sd_model_checkpoint: str | None = None
    sd_checkpoint_hash: str | None = None


class Flags(BaseModel):
    """What the server was started with; passwords are struck out."""

    model_config = ConfigDict(extra="allow")


class InternalProgressRequest(Incoming):
    id_task: str | None = None
    id_live_preview: int = -1
    live_preview: bool = True


class InternalProgressResponse(BaseModel):
    active: bool
    queued: bool
    completed: bool
    progress: float | None = None
    eta: float | None = None
    live_preview: str | None = None
    id_live_preview: int | None = None
    textinfo: str | None = None
