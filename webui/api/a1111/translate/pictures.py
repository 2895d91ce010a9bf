"""Pictures and masks: out of base64, and as the start of a job."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from webui.api.a1111.schemas.processing import StableDiffusionProcessingImg2Img
from webui.api.a1111.translate.fields import checked
from webui.errors import BadFile, BadRequest

RESIZE_MODES = ("just_resize", "crop", "fill", "latent")
CONTENTS = ("fill", "original", "latent_noise", "latent_nothing")
NO_PICTURE = "0" * 64
"""A reference of the right form, for checking the other fields before anything is stored."""

Store = Callable[[bytes], str]
"""Keeps a picture and returns the reference to it."""


def read_base64_image(text: str, field: str = "image") -> bytes:
    """Return the bytes of an image sent as base64, bare or as a data: URI. Nothing is ever fetched."""
    content = text.strip()
    if content.lower().startswith(("http://", "https://", "file:", "ftp://")):
        raise BadRequest(f"{field}: an address was sent.", hint="Send the image itself as base64.", field=field)
    if content.lower().startswith("data:"):
        header, comma, content = content.partition(",")
        if not comma or not header.lower().endswith(";base64"):
            raise BadRequest(f"{field}: the data: URI is not base64.", hint="Send data:image/png;base64,…", field=field)
    try:
        decoded = base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(
            f"{field}: this is not base64.", hint="Send the image's bytes as base64.", field=field
        ) from None
    if not decoded:
        raise BadFile(f"{field}: it is empty.", hint="Send a PNG, JPEG or WebP image.", field=field)
    return decoded


def read_start(asked: StableDiffusionProcessingImg2Img, store: Store, *, soft: bool) -> dict[str, Any]:
    """Return the fields of our start; raise `BadRequest` naming A1111's field. `soft`: soft inpainting."""
    if not asked.init_images:
        raise BadRequest("init_images: no picture was sent.", hint="Send at least one as base64.", field="init_images")
    if len(asked.init_images) > 1 and asked.batch_size not in (1, len(asked.init_images)):
        raise BadRequest(
            f"batch_size: {len(asked.init_images)} init_images make one batch of that size, not of {asked.batch_size}.",
            hint="Leave batch_size out.",
            field="batch_size",
        )
    start: dict[str, Any] = {
        "kind": "image",
        "strength": 0.75 if asked.denoising_strength is None else asked.denoising_strength,
        "resize": _named(RESIZE_MODES, "resize_mode", asked.resize_mode),
    }
    if asked.mask:
        start |= {"kind": "masked_image", "soft": soft, **_mask_fields(asked)}
        checked({"start": {**start, "images": (NO_PICTURE,), "mask": NO_PICTURE}})  # before anything is stored
        start["mask"] = store(read_base64_image(asked.mask, "mask"))
    else:
        checked({"start": {**start, "images": (NO_PICTURE,)}})
    start["images"] = tuple(store(read_base64_image(image, "init_images")) for image in asked.init_images)
    return start


def _mask_fields(asked: StableDiffusionProcessingImg2Img) -> dict[str, object]:
    return {
        "mask_blur": _mask_blur(asked),
        "content": _named(CONTENTS, "inpainting_fill", asked.inpainting_fill),
        "invert": bool(asked.inpainting_mask_invert),
        "area": "masked" if asked.inpaint_full_res else "whole",
        "padding": asked.inpaint_full_res_padding,
    }


def _named(names: tuple[str, ...], field: str, number: int) -> str:
    if not 0 <= number < len(names):
        raise BadRequest(
            f"{field}: there is no {number}.", hint=f"Use 0 to {len(names) - 1}: {', '.join(names)}.", field=field
        )
    return names[number]


def _mask_blur(asked: StableDiffusionProcessingImg2Img) -> int:
    if asked.mask_blur is not None:
        return asked.mask_blur
    if asked.mask_blur_x != asked.mask_blur_y:
        raise BadRequest(
            f"mask_blur_y: the mask is blurred by the same in both directions (given: {asked.mask_blur_x} and "
            f"{asked.mask_blur_y}).",
            hint="Send mask_blur instead.",
            field="mask_blur_y",
        )
    return asked.mask_blur_x
