"""The detailer's options, ADetailer's arguments, infotexts, and detectors by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from extensions.detailer.arguments import read, read_arguments, write
from extensions.detailer.extension import find_detector, list_detectors, skip_img2img, tell
from extensions.detailer.options import Detailer, Unit, read_rectangles
from extensions.lora.options import LoraOptions
from extensions.lora.planning import change_plan
from tests.extensions.detailer.onnx_files import write_yolo
from tests.extensions.parts import PICTURE, make_tools
from webui.domain.models import Kind, ModelInfo
from webui.domain.plan import Plan
from webui.domain.request import GenerationRequest
from webui.errors import BadFile, BadRequest, NotFound
from webui.extending.api import Call
from webui.extending.scripts import Tools
from webui.weights.catalog.catalog import Catalog
from webui.weights.catalog.files import DETECTORS
from webui.weights.catalog.index import ModelIndex

PlanMaker = Callable[..., Plan]
BOX = Unit(rectangles="0.1, 0.1, 0.5, 0.5")


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    """Tools that know the detectors in a folder."""
    folder = tmp_path / "adetailer"
    folder.mkdir()
    write_yolo(folder / "face_yolov8n.onnx")
    (folder / "hand_yolov8n.pt").write_bytes(b"PK\x03\x04")
    catalog = Catalog([folder], ModelIndex(tmp_path / "models.db"), DETECTORS)

    def find(kind: Kind, name: str) -> ModelInfo:
        return catalog.hashed(catalog.find(name))

    return dataclasses.replace(make_tools(), find=find, models=lambda kind: catalog.models())


def options(*units: dict[str, Any]) -> Detailer:
    return Detailer.model_validate(read_arguments([True, False, *units], make_tools()))


def test_adetailers_arguments() -> None:
    read_back = options(
        {
            "ad_model": "face_yolov8n.pt", "ad_prompt": "a face", "ad_confidence": 0.5, "ad_denoising_strength": 0.3,
            "ad_mask_k_largest": 2, "ad_use_steps": True, "ad_steps": 40, "ad_cfg_scale": 3, "ad_inpaint_width": 1024,
            "ad_use_sampler": True, "ad_sampler": "Euler", "ad_scheduler": "Use same scheduler", "is_api": True,
            "ad_controlnet_model": "None", "ad_mask_merge_invert": "Merge", "ad_vae": None,
        }
    )  # fmt: skip
    (unit,) = read_back.units
    assert unit == Unit(
        detector="face_yolov8n.pt", prompt="a face", confidence=0.5, strength=0.3, most=2, steps=40, sampler="Euler",
        merge="Merge",
    )  # fmt: skip
    assert read_back.enabled and not read_back.skip_img2img
    assert read_arguments([{"ad_model": "x"}], make_tools())["enabled"]
    assert not read_arguments([False, True, {"ad_model": "x"}], make_tools())["enabled"]
    assert options({"ad_model": "None"}).active == ()


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ({"ad_colour": 1}, "ad_colour"),
        ({"ad_restore_face": True}, "face restoration"),
        ({"ad_use_checkpoint": True, "ad_checkpoint": "x"}, "checkpoint"),
        ({"ad_controlnet_model": "tile"}, "ControlNet"),
    ],
)
def test_what_adetailer_can_and_this_cannot_is_refused(unit: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        read_arguments([True, False, unit], make_tools())
    with pytest.raises(BadRequest, match="booleans"):
        read_arguments(["face"], make_tools())


def test_what_the_infotext_says_can_be_read_back() -> None:
    units = (
        Unit(detector="face", prompt="a face", steps=30, width=640, order="Left to right"),
        Unit(rectangles="1,2,3,4", merge="Merge", dilation=0),
        Unit(detector="Mask", mask="1" * 64, only_masked=False),
    )
    said = write(units)
    assert said["ADetailer model"] == "face" and said["ADetailer steps"] == "30"
    assert said["ADetailer model 2nd"] == "Rectangles" and said["ADetailer model 3rd"] == "Mask"
    assert "ADetailer prompt 2nd" not in said and said["ADetailer dilate erode 2nd"] == "0"
    assert Detailer.model_validate(read(said)).units == units
    assert read({"Steps": "20"}) is None


def test_infotexts_of_adetailer_are_read() -> None:
    found = read(
        {
            "ADetailer model": "face_yolov8n.pt", "ADetailer confidence": "0.3", "ADetailer dilate/erode": "8",
            "ADetailer inpaint only masked": "True", "ADetailer scheduler": "Use same scheduler",
            "ADetailer version": "23.6.1",
        }
    )  # fmt: skip
    (unit,) = Detailer.model_validate(found).units
    assert (unit.detector, unit.dilation, unit.only_masked, unit.schedule) == ("face_yolov8n.pt", 8, True, None)


def test_detectors_by_name(tools: Tools) -> None:
    for name in ("face_yolov8n", "face_yolov8n.onnx", "Face_YOLOv8n.pt"):
        assert find_detector(name, tools).path.name == "face_yolov8n.onnx"
    with pytest.raises(BadFile, match="programs") as refused:
        find_detector("hand_yolov8n.pt", tools)
    assert "yolo export" in str(refused.value)
    with pytest.raises(BadRequest, match="not found") as missing:
        find_detector("person_yolov8s.pt", tools)
    assert "yolo export model=person_yolov8s.pt" in str(missing.value.hint)
    with pytest.raises(BadRequest) as mediapipe:
        find_detector("mediapipe_face_full", tools)
    assert "YuNet" in str(mediapipe.value.hint)
    assert isinstance(mediapipe.value.__cause__, NotFound)


def test_detectors_are_listed_for_programs(tools: Tools) -> None:
    call = Call(query={}, body=None, tools=tools, run=lambda request: ())
    assert list_detectors(call) == {"ad_model": ["face_yolov8n.onnx", "Rectangles", "Mask"]}


def test_a_plan_names_the_exact_file(make_plan: PlanMaker, tools: Tools) -> None:
    asked = Detailer(enabled=True, units=(Unit(detector="face_yolov8n.pt", sampler="euler"), BOX))
    plan = tell(make_plan(), asked, tools)
    first, second = plan.extensions["detailer"]["units"]
    assert first["path"].endswith("face_yolov8n.onnx") and len(first["sha256"]) == 64
    assert first["unit"]["sampler"] == "Euler" and second["path"] is None
    assert plan.facts["ADetailer model 2nd"] == "Rectangles"


def test_off_it_leaves_the_plan_as_it_is(make_plan: PlanMaker) -> None:
    plan = make_plan()
    for asked in (Detailer(), Detailer(units=(BOX,)), Detailer(enabled=True, units=(BOX.replace(strength=0.0),))):
        assert tell(plan, asked, make_tools()) is plan


def test_units_that_cannot_work_are_refused(make_plan: PlanMaker) -> None:
    for unit, message in ((Unit(), "no rectangle"), (Unit(detector="Mask"), "no mask")):
        with pytest.raises(BadRequest, match=message):
            tell(make_plan(), Detailer(enabled=True, units=(unit,)), make_tools())
    for wrong in ({"rectangles": "1,2,3"}, {"rectangles": "1,2,0,4"}, {"classes": "face"},
                  {"min_share": 0.5, "max_share": 0.1}):  # fmt: skip
        with pytest.raises(ValidationError):
            Unit(**wrong)  # type: ignore[arg-type]
    assert len(read_rectangles("1,2,3,4; 5,6,7,8;")) == 2


def test_img2img_is_skipped_as_far_as_can_be(make_plan: PlanMaker) -> None:
    request = GenerationRequest(start=PICTURE)
    asked = Detailer(enabled=True, skip_img2img=True, units=(BOX,))
    changed = skip_img2img(request, asked, make_tools())
    assert changed.start.strength == 0  # type: ignore[union-attr]
    plan = tell(make_plan(start=changed.start), asked, make_tools())
    assert plan.extensions["detailer"]["original"] == list(PICTURE.images)
    assert skip_img2img(GenerationRequest(), asked, make_tools()) == GenerationRequest()
    assert skip_img2img(request, asked.replace(enabled=False), make_tools()) is request


def test_what_a_units_own_prompt_names_is_at_hand(make_plan: PlanMaker, tools: Tools, tmp_path: Path) -> None:
    named = BOX.replace(prompt="a face <lora:smile:0.8> [SEP] [PROMPT]", negative_prompt="blur")
    plan = tell(make_plan(prompt="a crowd"), Detailer(enabled=True, units=(named,)), tools)
    assert plan.further_prompts == ("a face <lora:smile:0.8> [SEP] [PROMPT]", "blur")
    smile = ModelInfo(name="smile", path=tmp_path / "smile.safetensors", layout="", kind=Kind.LORA, sha256="5" * 64)
    finding = dataclasses.replace(tools, find=lambda kind, name: smile)
    assert list(change_plan(plan, LoraOptions(), finding).extensions["lora"]["networks"]) == ["smile"]
    assert "lora" not in change_plan(make_plan(prompt="a crowd"), LoraOptions(), finding).extensions
