"""The picture a job begins with, made ready for the network, and the way back of what the network makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image, ImageColor

from webui.domain.plan import ImagePlan, Plan
from webui.domain.start import FromExtendedImage, FromImage, FromMaskedImage, FromNoise, FromTiles
from webui.errors import BadRequest
from webui.images import masks
from webui.images.colours import match_colours
from webui.images.extension import extend
from webui.images.masks import Box
from webui.images.resize import resize

BACKGROUND = "#ffffff"  # behind transparent pictures, as in A1111


@dataclass(frozen=True)
class Canvas:
    """`picture` (RGB) goes to the network; under `mask` (L, same size; None: everywhere) it is painted anew.

    The result is put into `whole` at `region`, as far as `overlay` (L, of the size of `whole`) is white.
    """

    picture: Image.Image
    mask: Image.Image | None = None
    whole: Image.Image | None = None
    overlay: Image.Image | None = None
    region: Box | None = None
    corrects_colours: bool = False

    def finish(self, painted: Image.Image) -> Image.Image:
        """Return the finished picture: where the overlay is black, the bytes are those of `whole`."""
        if self.corrects_colours:
            painted = match_colours(painted, self.picture)
        if self.whole is None or self.overlay is None:
            return painted
        if self.region is not None:
            left, top, right, bottom = self.region
            patch = resize(painted, right - left, bottom - top, "just_resize")
            painted = self.whole.copy()
            painted.paste(patch, (left, top))
        return Image.composite(painted, self.whole, self.overlay)


def prepare(plan: Plan, image: ImagePlan, inputs: Mapping[str, Image.Image]) -> Canvas | None:
    """Return the canvas of one image of `plan`; `inputs` are pictures by reference.

    None when it begins with noise, or with tiles of a picture, which are canvases of their own.

    Raises `BadRequest` when only what is masked shall be painted and nothing is.
    """
    start = plan.start
    if isinstance(start, FromNoise | FromTiles):
        return None
    picture = flatten(inputs[start.images[image.index % len(start.images)]], start.background)
    corrects_colours = plan.picture.colour_correction and plan.hires is None
    if isinstance(start, FromImage):
        return Canvas(_fit(picture, plan, start), corrects_colours=corrects_colours)
    if isinstance(start, FromExtendedImage):
        return _of_extended(plan, start, picture, corrects_colours)
    mask = masks.read_mask(inputs[start.mask], soft=start.soft)
    mask = masks.blur(masks.invert(mask) if start.invert else mask, start.mask_blur)
    make = _of_region if start.area == "masked" else _of_whole
    return make(plan, start, picture, mask, corrects_colours)


def flatten(image: Image.Image, background: str | None) -> Image.Image:
    """Return a picture without transparency: on `background` (#rrggbb, None: white)."""
    if image.mode != "RGBA":
        return image
    behind = Image.new("RGBA", image.size, ImageColor.getrgb(background or BACKGROUND))
    return Image.alpha_composite(behind, image).convert("RGB")


def _fit(picture: Image.Image, plan: Plan, start: FromImage | FromMaskedImage) -> Image.Image:
    """Return `picture` in the plan's size; if latents are to be resized, in its own, at most its last pixels cut."""
    if start.resize != "latent":
        return resize(picture, plan.width, plan.height, start.resize)
    width, height = (max(8, side // 8 * 8) for side in picture.size)
    return resize(picture, width, height, "crop")


def _of_whole(
    plan: Plan, start: FromMaskedImage, picture: Image.Image, mask: Image.Image, corrects_colours: bool
) -> Canvas:
    mask = resize(mask, plan.width, plan.height, start.resize)
    return Canvas(
        picture=_fill(_fit(picture, plan, start), mask, start),
        mask=mask,
        whole=resize(picture, plan.width, plan.height, start.resize),
        overlay=_overlay(mask, start),
        corrects_colours=corrects_colours,
    )


def _of_region(
    plan: Plan, start: FromMaskedImage, picture: Image.Image, mask: Image.Image, corrects_colours: bool
) -> Canvas:
    mask = resize(mask, *picture.size, "just_resize")
    region = masks.surroundings(mask, start.padding, plan.width / plan.height)
    if region is None:
        raise BadRequest(
            "The mask is empty, so there is nothing to paint.",
            hint='Paint over what should change, or choose "Whole picture".',
            field="mask",
        )
    size = (plan.width, plan.height)
    region_mask = resize(mask.crop(region), *size, "just_resize")
    return Canvas(
        picture=_fill(resize(picture.crop(region), *size, "just_resize"), region_mask, start),
        mask=region_mask,
        whole=picture,
        overlay=_overlay(mask, start) if start.soft else mask,
        region=region,
        corrects_colours=corrects_colours,
    )


def _of_extended(plan: Plan, start: FromExtendedImage, picture: Image.Image, corrects_colours: bool) -> Canvas:
    extended = extend(picture, (plan.width, plan.height), start)
    return Canvas(
        picture=extended.filled,
        mask=extended.mask,
        whole=extended.whole,
        overlay=extended.overlay,
        corrects_colours=corrects_colours,
    )


def _overlay(mask: Image.Image, start: FromMaskedImage) -> Image.Image:
    """Return how much of the result is shown: all of it where anything was painted, with a ramp to hide the seam.

    A mask is painted from half white on, a soft one from (almost) black on.
    """
    return masks.widen(mask, 8 if start.soft else 2)


def _fill(picture: Image.Image, mask: Image.Image, start: FromMaskedImage) -> Image.Image:
    """Replace what is masked by the colours around it; under latents that are no picture it shines through the VAE."""
    if start.content == "original":
        return picture
    return masks.fill_masked(picture, resize(mask, *picture.size, "just_resize"))
