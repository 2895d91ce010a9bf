"""Where sampling begins: from noise alone, from pictures, or from a part of pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from webui.domain.frozen import Data

MAX_PICTURES = 1_000  # of one job
MAX_PADDING = 256  # pixels
MAX_EXTENSION = 2048  # pixels

_REFERENCE = re.compile(r"[0-9a-f]{64}")
Reference = Annotated[str, Field(pattern=f"^{_REFERENCE.pattern}$")]
"""A picture in the input store: the SHA-256 of its file."""

Resize = Literal["just_resize", "crop", "fill", "latent"]
"""How a picture of another size comes to the size that was asked for: stretched; scaled and cropped; scaled and filled
up with its edges; or stretched as latents."""

Content = Literal["fill", "original", "latent_noise", "latent_nothing"]
"""What stands under the mask before sampling: the colours around it, the picture, noise, or latents that are zero."""


class FromNoise(Data):
    """Nothing but the prompt: txt2img."""

    kind: Literal["noise"] = "noise"


class _FromPictures(Data):
    """Image k of the job begins with picture k modulo their number. `strength` 0 keeps a picture, 1 forgets it.

    With `scale` the result is that many times as large as the first picture, whatever size the request names.
    `background` is what shows through where a picture is transparent, as #rrggbb.
    """

    images: Annotated[tuple[Reference, ...], Field(min_length=1, max_length=MAX_PICTURES)]
    strength: Annotated[float, Field(ge=0, le=1)] = 0.75
    resize: Resize = "just_resize"
    scale: Annotated[float, Field(ge=0.05, le=4)] | None = None
    background: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")] | None = None  # None: as in the settings


class FromImage(_FromPictures):
    """img2img: the whole picture changes."""

    kind: Literal["image"] = "image"


class FromMaskedImage(_FromPictures):
    """Inpainting: what is white in the mask changes (black, with `invert`), everything else stays as it is."""

    kind: Literal["masked_image"] = "masked_image"
    mask: Reference
    mask_blur: Annotated[int, Field(ge=0, le=64)] = 4  # pixels: the standard deviation
    content: Content = "original"
    invert: bool = False
    area: Literal["whole", "masked"] = "whole"  # masked: only the surroundings of the mask are computed, at full size
    padding: Annotated[int, Field(ge=0, le=MAX_PADDING)] = 32  # pixels around the mask, with area "masked"
    soft: bool = False  # grey in the mask means: changes less


Side = Annotated[int, Field(ge=0, le=MAX_EXTENSION, multiple_of=8)]


class FromExtendedImage(_FromPictures):
    """Outpainting: the picture keeps its pixels and grows at its sides by so many of them, whatever size the request
    names; what is new is painted. `overlap` pixels of the picture along each new side may change, for a soft seam."""

    kind: Literal["extended_image"] = "extended_image"
    left: Side = 0
    right: Side = 0
    up: Side = 0
    down: Side = 0
    overlap: Annotated[int, Field(ge=0, le=128)] = 8
    content: Content = "fill"


class FromTiles(_FromPictures):
    """SD upscale: the picture is enlarged `factor` times by `upscaler`, cut into overlapping tiles of the request's
    size, each goes through img2img, and they are put together again."""

    kind: Literal["tiles"] = "tiles"
    upscaler: str = "Lanczos"
    factor: Annotated[float, Field(ge=1, le=4)] = 2.0
    overlap: Annotated[int, Field(ge=0, le=256, multiple_of=8)] = 64


Start = Annotated[FromNoise | FromImage | FromMaskedImage | FromExtendedImage | FromTiles, Field(discriminator="kind")]


def references(start: Start) -> tuple[str, ...]:
    """Return every picture a start needs, each once."""
    match start:
        case FromMaskedImage():
            return tuple(dict.fromkeys((*start.images, start.mask)))
        case FromNoise():
            return ()
        case _:
            return tuple(dict.fromkeys(start.images))


def references_in(value: object) -> tuple[str, ...]:
    """Return every picture that options, or what was made of them, name: each string that has the form of one, once."""
    match value:
        case str():
            return (value,) if _REFERENCE.fullmatch(value) else ()
        case Mapping():
            found = [each for inner in value.values() for each in references_in(inner)]
        case list() | tuple():
            found = [each for inner in value for each in references_in(inner)]
        case _:
            return ()
    return tuple(dict.fromkeys(found))
