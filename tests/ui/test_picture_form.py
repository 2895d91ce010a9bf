"""The img2img page's fields and the start they stand for."""

from __future__ import annotations

from typing import Any

import pytest

from webui.domain.request import GenerationRequest
from webui.domain.start import FromImage, FromMaskedImage
from webui.ui import actions
from webui.ui.picture_form import CONTENTS, RESIZES, PictureFields, fields_of

ONE, TWO, MASK = "1" * 64, "2" * 64, "3" * 64


def test_without_a_mask_the_whole_picture_changes() -> None:
    request = PictureFields(images=ONE, strength=0.4, resize="fill", mask_blur=9).complete(GenerationRequest())
    assert request.start == FromImage(images=(ONE,), strength=0.4, resize="fill")


def test_with_a_mask_its_options_count() -> None:
    fields: dict[str, Any] = {"mask_blur": 9, "content": "fill", "invert": True, "area": "masked", "padding": 16}
    request = PictureFields(images=ONE, mask=MASK, **fields).complete(GenerationRequest())
    assert request.start == FromMaskedImage(images=(ONE,), mask=MASK, **fields)


def test_the_batch_count_holds_for_each_picture() -> None:
    assert PictureFields(images=f"{ONE},{TWO}").complete(GenerationRequest(batch_count=3)).batch_count == 6


@pytest.mark.parametrize("start", [FromImage(images=(ONE, TWO)), FromMaskedImage(images=(ONE,), mask=MASK, soft=True)])
def test_a_start_is_shown_and_read_back(start: FromImage | FromMaskedImage) -> None:
    asked = {"start": start.model_dump()}
    values = actions.picture_values(asked, {})
    assert values == fields_of(start)
    assert PictureFields(**values).complete(GenerationRequest()).start == start


def test_an_infotext_brings_options_without_a_picture() -> None:
    assert actions.picture_values({}, {"strength": 0.3, "content": "fill"}) == {"strength": 0.3, "content": "fill"}


def test_choices_are_restored_if_they_still_exist() -> None:
    assert actions.restored_choices({"resize": "crop", "content": "gone", "area": "masked", "prompt": "x"}) == {
        "resize": "crop",
        "area": "masked",
    }
    assert {"latent", "latent_noise"} <= {value for _, value in (*RESIZES, *CONTENTS)}
