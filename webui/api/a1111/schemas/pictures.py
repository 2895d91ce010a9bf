"""Enlarging pictures, and reading what they say about themselves."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from webui.api.a1111.schemas.incoming import Incoming
from webui.domain.start import MAX_PICTURES

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
