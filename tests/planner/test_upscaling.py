"""Pictures that are only enlarged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.planner_parts import FakeShelf
from webui import planner
from webui.domain.models import Family, ModelInfo
from webui.domain.passes import Hires
from webui.domain.plan import PLANS, Plan, UpscalePlan
from webui.domain.request import REQUESTS, AnyRequest, GenerationRequest, UpscaleRequest
from webui.domain.start import FromTiles
from webui.domain.upscaling import UpscalerRef
from webui.errors import BadRequest, NotFound
from webui.settings import Settings

MODEL = ModelInfo(name="m", path=Path("/m"), family=Family.SD1, layout="diffusers", sha256="ab" * 32)
ONE, TWO = "1" * 64, "2" * 64


def plan(**asked: Any) -> UpscalePlan:
    request = UpscaleRequest(**{"images": (ONE, TWO), **asked})
    resolved = planner.plan(request, Settings(), FakeShelf(MODEL), lambda: 1)
    assert isinstance(resolved, UpscalePlan)
    return resolved


def test_each_picture_is_an_image() -> None:
    resolved = plan(upscaler="net", infotexts=("a cat", ""))
    assert [(image.index, image.picture, image.infotext) for image in resolved.images] == [
        (0, ONE, "a cat"),
        (1, TWO, ""),
    ]
    assert resolved.upscaler.kind == "network" and resolved.second_upscaler is None
    assert resolved.save.folder == "extras-images" and resolved.save.directory == ""


def test_a_second_upscaler_without_a_share_is_none() -> None:
    assert plan(second_upscaler="Nearest").second_upscaler is None
    assert plan(second_upscaler="Nearest", second_share=0.5).second_upscaler is not None


def test_plan_and_request_come_back_from_their_texts() -> None:
    request = UpscaleRequest(images=(ONE,))
    assert REQUESTS.validate_json(request.model_dump_json()) == request
    assert PLANS.validate_json(plan().model_dump_json()) == plan()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"upscaler": "Latent"}, "enlarges latents"),
        ({"width": 100}, "Only one side"),
        ({"width": 16384, "height": 16384, "images": (ONE,) * 3}, None),
        ({"infotexts": ("one",)}, "1 infotexts cannot belong to 2 pictures"),
    ],
)
def test_what_cannot_be_is_refused(asked: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert plan(**asked).width == 16384
        return
    with pytest.raises(BadRequest, match=message):
        plan(**asked)


def test_a_result_beyond_all_measure_is_refused() -> None:
    request = UpscaleRequest(images=(ONE,), scale=8)
    with pytest.raises(BadRequest, match="at most 256 million"):
        planner.plan(request, Settings(), FakeShelf(MODEL, size=(4096, 4096)), lambda: 1)


def test_an_unknown_upscaler_is_named() -> None:
    with pytest.raises(NotFound, match="sharpest"):
        plan(upscaler="sharpest")


def upscalers_of(request: AnyRequest, settings: Settings) -> list[UpscalerRef | None]:
    resolved = planner.plan(request, settings, FakeShelf(MODEL), lambda: 1)
    if isinstance(resolved, UpscalePlan):
        return [resolved.upscaler, resolved.second_upscaler]
    assert isinstance(resolved, Plan)
    chosen = resolved.hires or resolved.tiles
    assert chosen is not None
    return [chosen.upscaler]


@pytest.mark.parametrize(
    "request_",
    [
        UpscaleRequest(images=(ONE,), upscaler="net", second_upscaler="net", second_share=0.5),
        GenerationRequest(hires=Hires(upscaler="net")),
        GenerationRequest(start=FromTiles(images=(ONE,), upscaler="net", overlap=8)),
    ],
)
def test_the_settings_say_how_large_a_networks_tiles_are(request_: AnyRequest) -> None:
    for upscaler in upscalers_of(request_, Settings()):
        assert upscaler is not None and (upscaler.tile, upscaler.overlap) == (192, 8)
    for upscaler in upscalers_of(request_, Settings().overridden({"ESRGAN_tile": 0, "ESRGAN_tile_overlap": 32})):
        assert upscaler is not None and (upscaler.tile, upscaler.overlap) == (0, 32)


def test_tiles_cannot_be_enlarged_as_latents() -> None:
    request = GenerationRequest(start=FromTiles(images=(ONE,), upscaler="Latent", overlap=8))
    with pytest.raises(BadRequest, match="enlarges latents") as raised:
        planner.plan(request, Settings(), FakeShelf(MODEL), lambda: 1)
    assert raised.value.field == "start.upscaler"
