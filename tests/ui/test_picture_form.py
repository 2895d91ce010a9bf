"""The img2img page's fields and the start they stand for."""

from __future__ import annotations

from typing import Any

import pytest

from webui.domain.request import GenerationRequest
from webui.domain.start import FromExtendedImage, FromImage, FromMaskedImage, Start
from webui.ui import actions
from webui.ui.form import FormError
from webui.ui.picture_form import CONTENTS, RESIZES, PictureFields, fields_of

ONE, TWO, MASK = "1" * 64, "2" * 64, "3" * 64


def test_the_whole_picture_changes() -> None:
    request = PictureFields(images=ONE, strength=0.4, resize="fill", mask_blur=9).complete(GenerationRequest())
    assert request.start == FromImage(images=(ONE,), strength=0.4, resize="fill")


@pytest.mark.parametrize("mode", ["inpaint", "inpaint_sketch", "inpaint_upload"])
def test_with_a_mask_its_options_count(mode: Any) -> None:
    fields: dict[str, Any] = {"mask_blur": 9, "content": "fill", "invert": True, "area": "masked", "padding": 16}
    request = PictureFields(mode=mode, images=ONE, mask=MASK, **fields).complete(GenerationRequest())
    assert request.start == FromMaskedImage(images=(ONE,), mask=MASK, **fields)


def test_the_batch_count_holds_for_each_picture() -> None:
    assert PictureFields(images=f"{ONE},{TWO}").complete(GenerationRequest(batch_count=3)).batch_count == 6


def test_outpainting_keeps_its_own_content_and_needs_no_size() -> None:
    fields = PictureFields(mode="outpaint", images=ONE, left=64, down=8, overlap=16, by_scale=True, scale=2, strength=1)
    start = fields.complete(GenerationRequest()).start
    assert start == FromExtendedImage(images=(ONE,), left=64, down=8, overlap=16, content="fill", strength=1)


@pytest.mark.parametrize(
    ("mode", "given", "field"),
    [
        ("img2img", {}, "images"),
        ("inpaint", {"images": ONE}, "mask"),
        ("inpaint_upload", {"images": ONE}, "mask"),
        ("outpaint", {"images": ONE}, "left"),
    ],
)
def test_what_a_mode_lacks_is_named(mode: Any, given: dict[str, str], field: str) -> None:
    with pytest.raises(FormError) as caught:
        PictureFields(mode=mode, **given).complete(GenerationRequest())  # type: ignore[arg-type]
    assert [problem.field for problem in caught.value.problems] == [field]


def test_a_factor_counts_only_when_it_is_chosen() -> None:
    start = PictureFields(images=ONE, scale=2).complete(GenerationRequest()).start
    assert isinstance(start, FromImage) and start.scale is None
    start = PictureFields(images=ONE, scale=2, by_scale=True, background="#123456").complete(GenerationRequest()).start
    assert isinstance(start, FromImage) and (start.scale, start.background) == (2, "#123456")


@pytest.mark.parametrize(("mask", "kind"), [("", "image"), (MASK, "masked_image")])
def test_a_batch_lacks_only_its_pictures(mask: str, kind: str) -> None:
    template = PictureFields(mode="batch", mask=mask, strength=0.5, mask_blur=7).template(GenerationRequest(prompt="x"))
    assert "images" not in template["start"] and template["start"]["kind"] == kind
    template["start"]["images"] = [ONE]
    request = GenerationRequest.model_validate(template)
    assert isinstance(request.start, FromImage | FromMaskedImage)
    assert (request.prompt, request.start.strength) == ("x", 0.5)
    assert not isinstance(request.start, FromMaskedImage) or request.start.mask_blur == 7


@pytest.mark.parametrize(
    "start",
    [
        FromImage(images=(ONE, TWO)),
        FromImage(images=(ONE,), scale=1.5, background="#ff00aa"),
        FromMaskedImage(images=(ONE,), mask=MASK, soft=True),
        FromExtendedImage(images=(ONE,), left=8, up=16, content="latent_noise"),
    ],
)
def test_a_start_is_shown_and_read_back(start: Start) -> None:
    asked = {"start": start.model_dump()}
    values = actions.picture_values(asked, {})
    assert values == fields_of(start)
    assert PictureFields(**values).complete(GenerationRequest()).start == start


def test_an_infotext_brings_options_without_a_picture() -> None:
    given = {"strength": 0.3, "content": "fill", "upscaler": "Lanczos"}
    assert actions.picture_values({}, given) == {"strength": 0.3, "content": "fill"}
    grown = {"kind": "extended_image", "left": 64, "overlap": 16, "content": "original"}
    expected = {"mode": "outpaint", "left": 64, "overlap": 16, "extension_content": "original"}
    assert actions.picture_values({}, grown) == expected
    assert actions.picture_values({}, {"kind": "tiles", "overlap": 64, "factor": 2}) == {}
    assert actions.picture_values({}, {"scale": 1.5}) == {"by_scale": True, "scale": 1.5}


def test_choices_are_restored_if_they_still_exist() -> None:
    assert actions.restored_choices({"resize": "crop", "content": "gone", "area": "masked", "prompt": "x"}) == {
        "resize": "crop",
        "area": "masked",
    }
    assert {"latent", "latent_noise"} <= {value for _, value in (*RESIZES, *CONTENTS)}
