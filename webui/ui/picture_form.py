"""What the img2img page asks for besides a prompt, and the start of a job it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from webui.domain.frozen import Data
from webui.domain.request import GenerationRequest
from webui.domain.start import (
    MAX_PADDING,
    Content,
    FromExtendedImage,
    FromImage,
    FromMaskedImage,
    FromNoise,
    Resize,
    Side,
    Start,
)
from webui.ui.form import FormError, Problem

RESIZES = [
    ("Just resize", "just_resize"),
    ("Crop and resize", "crop"),
    ("Resize and fill", "fill"),
    ("Just resize (latent upscale)", "latent"),
]
CONTENTS = [
    ("fill", "fill"),
    ("original", "original"),
    ("latent noise", "latent_noise"),
    ("latent nothing", "latent_nothing"),
]

Mode = Literal["img2img", "sketch", "inpaint", "inpaint_sketch", "inpaint_upload", "outpaint", "batch"]
"""The sub-tab that is open. A sketch is a picture like any other: the scripts put what was painted into it."""

MASKED: tuple[Mode, ...] = ("inpaint", "inpaint_sketch", "inpaint_upload")
MASK_OPTIONS = ("mask_blur", "content", "invert", "area", "padding", "soft")
SIDES = ("left", "right", "up", "down")


class PictureFields(Data):
    """The fields of the page, flat: `images` and `mask` are references, several of them divided by commas.

    `scale` counts only with `by_scale`; `background` may be empty; `extension_content` is `content` of outpainting.
    """

    mode: Mode = "img2img"
    images: str = ""
    mask: str = ""
    strength: Annotated[float, Field(ge=0, le=1)] = 0.75
    resize: Resize = "just_resize"
    by_scale: bool = False
    scale: Annotated[float, Field(ge=0.05, le=4)] = 1.0
    background: Annotated[str, Field(pattern=r"^(#[0-9a-fA-F]{6})?$")] = ""
    mask_blur: Annotated[int, Field(ge=0, le=64)] = 4
    content: Content = "original"
    invert: bool = False
    area: Literal["whole", "masked"] = "whole"
    padding: Annotated[int, Field(ge=0, le=MAX_PADDING)] = 32
    soft: bool = False
    left: Side = 0
    right: Side = 0
    up: Side = 0
    down: Side = 0
    overlap: Annotated[int, Field(ge=0, le=128)] = 8
    extension_content: Content = "fill"

    def complete(self, request: GenerationRequest) -> GenerationRequest:
        """Return `request` with this start; the batch count holds for each of the pictures.

        Raises `FormError` when the mode needs something that is missing.
        """
        if not self.images:
            raise FormError((Problem("images", "Choose a picture first"),))
        images = tuple(self.images.split(","))
        return request.replace(start=self._start(images), batch_count=request.batch_count * len(images))

    def template(self, request: GenerationRequest) -> dict[str, Any]:
        """Return the JSON of a request whose start still lacks its `images`: a batch fills in one after the other."""
        if self.mask:
            start = self.replace(mode="inpaint")._start(("0" * 64,))
        else:
            start = self.replace(mode="img2img")._start(("0" * 64,))
        return {**request.model_dump(mode="json"), "start": start.model_dump(mode="json", exclude={"images"})}

    def _start(self, images: tuple[str, ...]) -> Start:
        common = {
            "images": images,
            "strength": self.strength,
            "resize": self.resize,
            "scale": self.scale if self.by_scale else None,
            "background": self.background or None,
        }
        if self.mode in MASKED:
            if not self.mask:
                raise FormError((Problem("mask", NO_MASK[self.mode]),))
            options = {name: getattr(self, name) for name in ("mask", *MASK_OPTIONS)}
            return FromMaskedImage.model_validate({**common, **options})
        if self.mode == "outpaint":
            return self._extended({**common, "scale": None})
        return FromImage.model_validate(common)

    def _extended(self, common: dict[str, Any]) -> FromExtendedImage:
        sides = {name: getattr(self, name) for name in SIDES}
        if not any(sides.values()):
            raise FormError((Problem("left", "Say by how many pixels the picture grows on at least one side"),))
        more = {"overlap": self.overlap, "content": self.extension_content}
        return FromExtendedImage.model_validate({**common, **sides, **more})


NO_MASK = {
    "inpaint": "Paint over what should change first",
    "inpaint_sketch": "Paint on the picture first: what is painted changes",
    "inpaint_upload": "Choose a mask first: what is white in it changes",
}


def fields_given(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the page's fields for what an infotext says of a start, under the names of `domain.start`.

    Options of a kind that the page has no mode for say nothing here.
    """
    values = {name: value for name, value in found.items() if value is not None}
    kind = values.pop("kind", None)
    if kind == "extended_image":
        content = values.pop("content", None)
        values |= {"mode": "outpaint"} | ({"extension_content": content} if content else {})
    elif kind == "tiles":
        values.pop("overlap", None)
    if "scale" in values:
        values["by_scale"] = True
    return {name: value for name, value in values.items() if name in PictureFields.model_fields}


def fields_of(start: Start) -> dict[str, Any]:
    """Return the values of the page's fields that stand for `start`; none for a start from noise."""
    if isinstance(start, FromNoise):
        return {}
    values = start.model_dump(exclude={"kind"})
    scale = values.pop("scale")
    values |= {"mode": "img2img", "mask": "", "images": ",".join(start.images), "by_scale": scale is not None}
    values["background"] = start.background or ""
    if scale is not None:
        values["scale"] = scale
    if isinstance(start, FromMaskedImage):
        values |= {"mode": "inpaint", "mask": start.mask}
    elif isinstance(start, FromExtendedImage):
        values |= {"mode": "outpaint", "extension_content": values.pop("content")}
    return {name: value for name, value in values.items() if name in PictureFields.model_fields}
