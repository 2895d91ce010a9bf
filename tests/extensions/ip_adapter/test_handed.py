"""Units of ControlNet that are IP-Adapters, as A1111's clients send them, become pictures of the extension."""

from __future__ import annotations

import base64
import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from extensions.controlnet.arguments import read_arguments
from extensions.ip_adapter.arguments import read_arguments as read_pictures
from extensions.ip_adapter.handed import take_units
from extensions.ip_adapter.infotext import read, write
from extensions.ip_adapter.options import ImagePrompt, IpAdapterOptions
from tests.extensions.parts import make_tools
from webui.domain.models import Kind, ModelInfo
from webui.domain.request import GenerationRequest
from webui.errors import BadRequest, NotFound
from webui.extending.api import Tools


def tools() -> Tools:
    def find(kind: Kind, name: str) -> ModelInfo:
        if name == "gone":
            raise NotFound("gone")
        found = Kind.IP_ADAPTER if name.startswith("ip-") else Kind.CONTROLNET
        return ModelInfo(name=name, path=Path(name), kind=found)

    return dataclasses.replace(make_tools(), find=find)


def picture() -> str:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def sent(**fields: Any) -> dict[str, Any]:
    return {"enabled": True, "image": picture(), "model": "ip-adapter_sd15 [6a3f6166]", "weight": 0.6, **fields}


def handed(*units: dict[str, Any], options: IpAdapterOptions = IpAdapterOptions()) -> GenerationRequest:  # noqa: B008
    request = GenerationRequest(extensions={"controlnet": read_arguments(units, tools())})
    return take_units(request, options, tools())


@pytest.mark.parametrize("module", ["ip-adapter_clip_sd15", "ip-adapter-auto", "IP-Adapter_clip_sdxl", "none"])
def test_a_unit_becomes_a_picture(module: str) -> None:
    request = handed(sent(module=module, guidance_start=0.1, guidance_end=0.8))
    options = IpAdapterOptions.model_validate(request.extensions["ip_adapter"])
    (each,) = options.pictures
    assert (each.enabled, each.model, each.weight, each.start, each.end) == (True, "ip-adapter_sd15", 0.6, 0.1, 0.8)
    assert each.image is not None and options.combination == "add"
    assert not request.extensions["controlnet"]["units"][0]["enabled"]


def test_other_units_stay_where_they_are() -> None:
    canny = {"enabled": True, "image": picture(), "module": "canny", "model": "control_canny"}
    request = handed(canny, sent(module="ip-adapter-auto"), {"enabled": False, "module": "none"})
    assert [unit["enabled"] for unit in request.extensions["controlnet"]["units"]] == [True, False, False]
    assert request.extensions["controlnet"]["units"][0]["preprocessor"] == "canny"
    alone = handed(canny, {**canny, "model": "gone"})
    assert "ip_adapter" not in alone.extensions


def test_they_come_behind_the_pictures_that_were_asked_for() -> None:
    options = IpAdapterOptions(pictures=(ImagePrompt(enabled=True, model="x"),), combination="average")
    taken = handed(sent(module="ip-adapter-auto"), options=options).extensions["ip_adapter"]
    assert [each["model"] for each in taken["pictures"]] == ["x", "ip-adapter_sd15"]
    assert taken["combination"] == "average"


def test_too_many_and_faces_are_refused() -> None:
    with pytest.raises(BadRequest, match="5 pictures for IP-Adapters: at most 4"):
        handed(*[sent(module="ip-adapter-auto")] * 5)
    with pytest.raises(BadRequest, match="face recogniser"):
        handed(sent(module="ip-adapter_face_id_plus"))


def test_programs_send_one_object_for_each_picture() -> None:
    content = picture()
    sent_twice = [{"image": content, "model": "x"}, {"image": f"data:image/png;base64,{content}", "weight": 0.5},
                  {"combination": "average", "negative": "a" * 64}]  # fmt: skip
    options = IpAdapterOptions.model_validate(read_pictures(sent_twice, tools()))
    first, second = options.pictures
    assert first.enabled and first.image == second.image and (first.model, second.weight) == ("x", 0.5)
    assert (options.combination, options.negative) == ("average", "a" * 64)
    assert not IpAdapterOptions.model_validate(read_pictures([], tools())).active


@pytest.mark.parametrize(
    ("argument", "words"), [("x", "must be an object"), ({"image": "http://x/y.png"}, "is not base64")]
)
def test_what_is_no_picture_is_refused(argument: object, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        read_pictures([argument], tools())


def test_what_the_infotext_says_can_be_read_back() -> None:
    asked = ImagePrompt(enabled=True, model="ip-adapter_sd15", weight=0.6, end=0.5)
    said = {**write(0, asked, "ip-adapter_sd15", "1234567890", "average"), **write(2, asked, "x", None, "average")}
    told = read(said)
    assert told is not None
    options = IpAdapterOptions.model_validate(told)
    assert options.pictures == (asked, ImagePrompt(), asked.replace(model="x"))
    assert options.combination == "average"
    assert read({"Steps": "20"}) is None
    odd = read({"IP-Adapter 0": "Model: x, Weight: much", "IP-Adapter 9": "Model: y"})
    assert odd is not None and IpAdapterOptions.model_validate(odd).pictures == (ImagePrompt(enabled=True, model="x"),)
