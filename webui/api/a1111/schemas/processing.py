"""txt2img and img2img."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from webui.api.a1111.schemas.incoming import Incoming


class Processing(Incoming):
    """What txt2img and img2img have in common."""

    prompt: str = ""
    negative_prompt: str = ""
    styles: list[str] = Field(default=[])
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
    distilled_cfg_scale: float | None = Field(default=None, description="Forge's: None is what the model proposes.")
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
    override_settings: dict[str, Any] = Field(default={})
    override_settings_restore_afterwards: bool = True
    refiner_checkpoint: str | None = None
    refiner_switch_at: float | None = None
    disable_extra_networks: bool = False
    firstpass_image: str | None = None
    comments: dict[str, Any] = Field(default={})
    force_task_id: str | None = None
    sampler_index: str = "Euler"
    script_name: str | None = None
    script_args: list[Any] = Field(default=[])
    send_images: bool = True
    save_images: bool = False
    alwayson_scripts: dict[str, Any] = Field(default={})
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
