"""Whatever a client sends becomes a request or an error that says what to do, never a fault of ours."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from webui.api.a1111.schemas.pictures import ExtrasBaseRequest
from webui.api.a1111.schemas.processing import StableDiffusionProcessingImg2Img, StableDiffusionProcessingTxt2Img
from webui.api.a1111.translate.extras import to_upscale_request
from webui.api.a1111.translate.infotext import with_infotext
from webui.api.a1111.translate.processing import to_picture_request, to_request, with_always_on
from webui.domain.passes import ScriptCall
from webui.errors import EaselError, NotFound

PICTURE = base64.b64encode(b"a picture").decode()
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 300),
    st.floats(),
    st.floats(-1, 2),
    st.text(max_size=20),
    st.sampled_from(["None", "Euler a", "karras", "Latent", "Lanczos", PICTURE, "512", "1.5", "Use same sampler"]),
    st.lists(st.one_of(st.booleans(), st.floats(0, 4), st.text(max_size=5)), max_size=8),
    st.dictionaries(
        st.sampled_from(["Soft inpainting", "Seed", "Refiner", "Sampler", "sd_vae", "s_noise", "x"]),
        st.one_of(st.none(), st.fixed_dictionaries({"args": st.lists(st.floats() | st.text(max_size=5), max_size=8)})),
        max_size=3,
    ),
)


def bodies(schema: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(sorted(schema.model_fields)), JUNK, max_size=8)


def store(content: bytes) -> str:
    return "ab" * 32


def find_script(name: str, arguments: list[Any]) -> ScriptCall:
    if name != "known":
        raise NotFound(f"Script not found: {name!r}.")
    return ScriptCall(name=name)


def read(text: str) -> tuple[str, str, dict[str, str]]:
    return "", "", dict.fromkeys(("Steps", "Size", "Sampler", "Hires upscale", "Mask mode", "Clip skip"), text)


@given(bodies(StableDiffusionProcessingTxt2Img))
@settings(max_examples=100, deadline=None)
def test_txt2img(body: dict[str, Any]) -> None:
    try:
        asked = with_infotext(with_always_on(StableDiffusionProcessingTxt2Img.model_validate(body)), read)
        to_request(asked, find_script, store)
    except ValidationError:
        pass
    except EaselError as error:
        assert error.status in (404, 422) and error.field


@given(bodies(StableDiffusionProcessingImg2Img))
@settings(max_examples=100, deadline=None)
def test_img2img(body: dict[str, Any]) -> None:
    try:
        asked = StableDiffusionProcessingImg2Img.model_validate({"init_images": [PICTURE], **body})
        to_picture_request(with_infotext(with_always_on(asked), read), find_script, store)
    except ValidationError:
        pass
    except EaselError as error:
        assert error.status in (404, 422) and error.field


@given(bodies(ExtrasBaseRequest))
@settings(max_examples=60, deadline=None)
def test_extras(body: dict[str, Any]) -> None:
    try:
        to_upscale_request(ExtrasBaseRequest.model_validate(body), [PICTURE], store, lambda content: "")
    except ValidationError:
        pass
    except EaselError as error:
        assert error.status == 422 and error.field


def test_what_is_right_becomes_a_request() -> None:
    asked = StableDiffusionProcessingTxt2Img(script_name="known", infotext="7")
    filled = with_infotext(asked, read)
    assert filled.steps == 7
    with pytest.raises(NotFound):
        to_request(filled, find_script, store)
    assert to_request(asked, find_script, store).request.script == ScriptCall(name="known")
