"""The img2img page: a picture, what is painted on it (both in `static/picture.js`), and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass

import gradio

from webui.domain.request import GenerationRequest
from webui.domain.start import MAX_PADDING
from webui.ui.components import Factory
from webui.ui.form import Form
from webui.ui.picture_form import CONTENTS, RESIZES, PictureFields
from webui.ui.tabs import txt2img


@dataclass(frozen=True)
class Img2imgPage:
    generate: gradio.Button


def build(
    make: Factory,
    form: Form[GenerationRequest],
    picture: Form[PictureFields],
    defaults: GenerationRequest,
    names: txt2img.Names,
) -> Img2imgPage:
    """Make the page: what it has in common with txt2img goes to `form`, the rest to `picture`."""
    generate = txt2img.build_top(make, form, names("style"))
    with gradio.Row(elem_classes=["workspace"], equal_height=False):
        with gradio.Column(elem_id=make.identity("settings"), elem_classes=["controls"], scale=5, min_width=320):
            make.mount("modes")
            make.mount("image")
            make.mount("batch")
            _build_unseen(make, picture)
            _build_mask_options(make, picture)
            _build_outpaint_options(make, picture)
            _build_picture_options(make, picture)
            txt2img.build_controls(make, form, defaults, names)
        with gradio.Column(elem_id=make.identity("results"), elem_classes=["results"], scale=7, min_width=320):
            pass  # the scripts show the results of all jobs on the page that is open
    return Img2imgPage(generate)


def _build_unseen(make: Factory, picture: Form[PictureFields]) -> None:
    """Fields nobody sees: the scripts write what the server called the pictures, and which sub-tab is open."""
    picture.bind(
        images=make.hidden("references", "Pictures"),
        mask=make.hidden("mask_reference", "Mask"),
        mode=make.hidden("mode", "Mode"),
        background=make.hidden("background", "Background"),
    )


def _build_picture_options(make: Factory, picture: Form[PictureFields]) -> None:
    with gradio.Row(elem_id=make.identity("picture_options")):
        picture.bind(
            strength=make.slider("denoising_strength", "Denoising strength", 0, 1, 0.01, 0.75),
            resize=make.dropdown("resize_mode", "Resize mode", RESIZES, "just_resize"),
        )
    with gradio.Row(elem_id=make.identity("scale_row"), elem_classes=["scale-row"]):
        picture.bind(
            by_scale=make.checkbox("by_scale", "Resize by"),
            scale=make.slider("scale", "Scale", 0.05, 4, 0.05, 1),
        )
    make.mount("size_words")


def _build_mask_options(make: Factory, picture: Form[PictureFields]) -> None:
    with gradio.Column(elem_id=make.identity("inpaint_options"), elem_classes=["inpaint-options"]):
        with gradio.Row():
            picture.bind(
                mask_blur=make.slider("mask_blur", "Mask blur", 0, 64, 1, 4),
                padding=make.slider("inpaint_full_res_padding", "Only masked padding", 0, MAX_PADDING, 4, 32),
            )
        with gradio.Row():
            picture.bind(
                content=make.dropdown("inpainting_fill", "Masked content", CONTENTS, "original"),
                area=make.dropdown(
                    "inpaint_full_res",
                    "Inpaint area",
                    [("Whole picture", "whole"), ("Only masked", "masked")],
                    "whole",
                ),
            )
        with gradio.Row():
            picture.bind(
                invert=make.checkbox("inpainting_mask_mode", "Inpaint not masked"),
                soft=make.checkbox("soft_inpainting", "Soft inpainting"),
            )


def _build_outpaint_options(make: Factory, picture: Form[PictureFields]) -> None:
    with gradio.Column(elem_id=make.identity("outpaint_options"), elem_classes=["outpaint-options"]):
        with gradio.Row(elem_classes=["sides"]):
            picture.bind(
                left=make.number("outpaint_left", "Left", 0),
                right=make.number("outpaint_right", "Right", 0),
                up=make.number("outpaint_up", "Up", 0),
                down=make.number("outpaint_down", "Down", 0),
            )
        make.mount("outpaint_tools")
        with gradio.Row():
            picture.bind(
                overlap=make.slider("outpaint_overlap", "Overlap", 0, 128, 1, 8),
                extension_content=make.dropdown("outpaint_fill", "New area begins as", CONTENTS, "fill"),
            )
