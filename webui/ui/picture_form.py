"""What the img2img page asks for besides a prompt, and the start of a job it stands for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from webui.domain.frozen import Data
from webui.domain.request import GenerationRequest
from webui.domain.start import MAX_PADDING, Content, FromImage, FromMaskedImage, Resize

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


class PictureFields(Data):
    """The fields of the page, flat: `images` and `mask` are references, several of them divided by commas."""

    images: str = ""
    mask: str = ""
    strength: Annotated[float, Field(ge=0, le=1)] = 0.75
    resize: Resize = "just_resize"
    mask_blur: Annotated[int, Field(ge=0, le=64)] = 4
    content: Content = "original"
    invert: bool = False
    area: str = "whole"
    padding: Annotated[int, Field(ge=0, le=MAX_PADDING)] = 32
    soft: bool = False

    def complete(self, request: GenerationRequest) -> GenerationRequest:
        """Return `request` with this start; the batch count holds for each of the pictures."""
        images = tuple(self.images.split(","))
        common = {"images": images, "strength": self.strength, "resize": self.resize}
        if not self.mask:
            start: FromImage | FromMaskedImage = FromImage.model_validate(common)
        else:
            names = ("mask", "mask_blur", "content", "invert", "area", "padding", "soft")
            start = FromMaskedImage.model_validate({**common, **{name: getattr(self, name) for name in names}})
        return request.replace(start=start, batch_count=request.batch_count * len(images))


def fields_of(start: FromImage | FromMaskedImage) -> dict[str, object]:
    """Return the values of the page's fields that stand for `start`."""
    values = start.model_dump(exclude={"kind"})
    return {"mask": "", **values, "images": ",".join(start.images)}
