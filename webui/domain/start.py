"""Where sampling begins: from noise alone, from pictures, or from the masked part of pictures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webui.domain.frozen import Data

MAX_PICTURES = 1_000  # of one job
MAX_PADDING = 256  # pixels

Reference = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
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
    """Image k of the job begins with picture k modulo their number. `strength` 0 keeps a picture, 1 forgets it."""

    images: Annotated[tuple[Reference, ...], Field(min_length=1, max_length=MAX_PICTURES)]
    strength: Annotated[float, Field(ge=0, le=1)] = 0.75
    resize: Resize = "just_resize"


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


Start = Annotated[FromNoise | FromImage | FromMaskedImage, Field(discriminator="kind")]


def references(start: Start) -> tuple[str, ...]:
    """Return every picture a start needs, each once."""
    match start:
        case FromMaskedImage():
            return tuple(dict.fromkeys((*start.images, start.mask)))
        case FromImage():
            return tuple(dict.fromkeys(start.images))
        case _:
            return ()
