"""The detailer in the engine: regions are painted again, and nothing else changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from extensions.detailer.detailing import detail
from extensions.detailer.extension import tell
from extensions.detailer.options import Detailer, Details, PlannedUnit, Unit
from extensions.lora.options import LoraFacts, NetworkFile
from extensions.lora.working import Work
from extensions.regional_prompts.extension import tell as tell_regions
from extensions.regional_prompts.options import RegionalPrompts
from tests.engine_parts import photo, picture_of, pictures_of
from tests.extensions.detailer.onnx_files import write_yolo
from tests.extensions.lora.lora_parts import write
from tests.extensions.parts import make_tools
from tools.pocket.scorer import Scorer
from webui.domain.events import Noted
from webui.domain.models import ModelInfo
from webui.domain.plan import ImagePlan, ModelRef, Plan
from webui.domain.start import FromImage
from webui.engine.control import Control
from webui.engine.engine import Engine, ImageReady
from webui.engine.run import ImageRun, Modifier, Run
from webui.weights.memory import EngineOptions

PlanMaker = Callable[..., Plan]
MODIFIER = Modifier("detailer", image_changes=(detail,))
CORNER = Unit(rectangles="0, 0, 24, 24", dilation=0, mask_blur=0, strength=0.8)


@pytest.fixture(scope="module")
def extended(options: EngineOptions) -> Engine:
    return Engine(options, [MODIFIER])


def told(plan: Plan, *units: Unit, **changes: Any) -> Plan:
    return tell(plan, Detailer(enabled=True, units=units, **changes), make_tools())


def test_a_rectangle_is_painted_again_and_the_rest_stays(
    engine: Engine, extended: Engine, make_plan: PlanMaker
) -> None:
    plan = make_plan(count=2)
    before = pictures_of(engine, plan)
    after = pictures_of(extended, told(plan, CORNER))
    for old, new in zip(before, after, strict=True):
        assert np.abs(new[:24, :24] - old[:24, :24]).mean() > 3
        assert (new[24:] == old[24:]).all() and (new[:, 24:] == old[:, 24:]).all()
    again = pictures_of(extended, plan)
    assert all((one == other).all() for one, other in zip(again, before, strict=True))


def test_a_painted_mask_has_a_region_for_each_spot(extended: Engine, make_plan: PlanMaker) -> None:
    mask = Image.new("L", (64, 64), 0)
    ImageDraw.Draw(mask).rectangle((0, 0, 15, 15), 255)
    ImageDraw.Draw(mask).rectangle((40, 40, 55, 55), 255)
    unit = CORNER.replace(detector="Mask", mask="c" * 64, prompt="[SKIP] [SEP] a dog")
    plan = make_plan()
    before = picture_of(extended, plan)
    after = picture_of(extended, told(plan, unit), c=mask)
    assert (after[:40] == before[:40]).all()
    assert np.abs(after[40:56, 40:56] - before[40:56, 40:56]).mean() > 3


def test_a_units_prompt_may_name_loras_that_the_images_does_not(
    options: EngineOptions, make_plan: PlanMaker, tmp_path: Path
) -> None:
    difference = {"lora_unet_conv_out.diff": torch.full((4, 32, 3, 3), 0.05)}
    file = NetworkFile(name="one", path=write(tmp_path / "one.safetensors", difference), sha256="1", family="sd1")
    work = Work()
    lora = Modifier("lora", patches=(work.enter,), wraps=(work.wrap,), guidance=(work.guide,))
    engine = Engine(options, [MODIFIER, lora])
    plan = make_plan().told("lora", LoraFacts(networks={"one": file}))
    plain = picture_of(engine, told(plan, CORNER.replace(prompt="a dog")))
    changed = picture_of(engine, told(plan, CORNER.replace(prompt="a dog <lora:one:1>")))
    assert (changed[24:] == plain[24:]).all() and np.abs(changed[:24, :24] - plain[:24, :24]).mean() > 1


class Painter:
    """Notes what is painted, and paints the region white."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.notes: list[str] = []

    def __call__(self, picture: Image.Image, mask: Image.Image, **changes: Any) -> Image.Image:
        self.asked.append({"box": mask.getbbox(), **changes})
        return Image.composite(Image.new("RGB", picture.size, "white"), picture, mask)

    def run(self, plan: Plan, details: Details, **inputs: Image.Image) -> ImageRun:
        pictures = {name * 64: picture for name, picture in inputs.items()}
        image = ImagePlan(index=1, seed=50, prompt="a crowd", negative_prompt="dull")
        return ImageRun(plan, details.model_dump(mode="json"), image, pictures, self, self.notes.append)


def test_each_region_has_its_prompt_and_seed(make_plan: PlanMaker) -> None:
    unit = Unit(
        rectangles="0,0,8,8; 20,20,8,8; 40,40,8,8", dilation=0, prompt="[PROMPT], smiling [SEP] grim", steps=9,
        width=512, only_masked=False,
    )  # fmt: skip
    painter = Painter()
    picture = detail(photo(), painter.run(make_plan(), Details(units=(PlannedUnit(unit=unit),))))
    assert [each["prompt"] for each in painter.asked] == ["a crowd, smiling", "grim", "grim"]
    assert {each["negative_prompt"] for each in painter.asked} == {"dull"}
    assert [each["seed"] for each in painter.asked] == [50, 51, 52]
    assert [each["box"] for each in painter.asked] == [(0, 0, 8, 8), (20, 20, 28, 28), (40, 40, 48, 48)]
    assert {(each["steps"], each["width"], each["height"], each["area"]) for each in painter.asked} == {
        (9, 512, None, "whole")
    }
    assert picture.getpixel((44, 44)) == (255, 255, 255) == picture.getpixel((4, 4))


def test_of_a_prompt_in_regions_the_part_counts_where_a_region_lies(make_plan: PlanMaker) -> None:
    plan = tell_regions(make_plan(prompt="all ADDBASE a cat ADDCOL a dog"), RegionalPrompts(enabled=True), make_tools())
    painter = Painter()
    unit = PlannedUnit(unit=Unit(rectangles="0,0,8,8; 40,40,8,8", dilation=0))
    run = painter.run(plan, Details(units=(unit,)))
    detail(photo(), dataclasses.replace(run, image=plan.images[0]))
    assert [each["prompt"] for each in painter.asked] == ["a cat", "a dog"]
    assert all("regional_prompts" in each["without"] and "lora" not in each["without"] for each in painter.asked)


def test_units_work_on_each_others_pictures_and_say_what_they_did_not_find(
    make_plan: PlanMaker, tmp_path: Path
) -> None:
    network = write_yolo(tmp_path / "colours.onnx")
    red = Image.new("RGB", (32, 32), "black")
    ImageDraw.Draw(red).rectangle((8, 8, 15, 15), "red")
    found = PlannedUnit(unit=Unit(detector="colours", resolution=32, dilation=0), path=network)
    painter = Painter()
    picture = detail(red, painter.run(make_plan(), Details(units=(found, found))))
    assert [each["box"] for each in painter.asked] == [(8, 8, 16, 16)]
    assert picture.getpixel((10, 10)) == (255, 255, 255)
    assert painter.notes == ["Detailer, unit 2: colours found nothing in image 2."]


def test_where_img2img_is_skipped_the_original_is_detailed(make_plan: PlanMaker) -> None:
    unit = PlannedUnit(unit=CORNER)
    painter = Painter()
    details = Details(units=(unit,), original=("a" * 64, "b" * 64))
    inputs = {"a": photo(), "b": Image.new("RGB", (64, 64), "green")}
    picture = detail(photo(), painter.run(make_plan(), details, **inputs))
    assert picture.getpixel((50, 50)) == (0, 128, 0)


def test_skipping_img2img_keeps_every_other_pixel(extended: Engine, make_plan: PlanMaker) -> None:
    start = FromImage(images=("a" * 64,), strength=0.0)
    plan = told(make_plan(start=start), CORNER, skip_img2img=True)
    painted, before = picture_of(extended, plan, a=photo()), np.asarray(photo(), np.int16)
    assert (painted[24:] == before[24:]).all() and not (painted[:24, :24] == before[:24, :24]).all()


def test_a_failure_leaves_the_picture_and_is_told(
    engine: Engine, extended: Engine, make_plan: PlanMaker, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_text("nothing")
    unit = PlannedUnit(unit=Unit(detector="broken"), path=broken)
    plan = make_plan().told("detailer", Details(units=(unit,)))
    happened = list(extended.run(plan, Control()))
    (ready,) = [each for each in happened if isinstance(each, ImageReady)]
    assert (np.asarray(ready.image) == picture_of(engine, make_plan())).all()
    assert any(isinstance(each, Noted) and "broken.onnx cannot be read" in each.message for each in happened)


def test_pocket_paints_what_is_asked_into_a_region(pocket: ModelInfo, scorer: Scorer, make_plan: PlanMaker) -> None:
    assert pocket.family is not None and pocket.sha256 is not None
    model = ModelRef(name=pocket.name, path=pocket.path, family=pocket.family, layout=pocket.layout,
                     sha256=pocket.sha256)  # fmt: skip
    plan = make_plan(prompt="a red circle, white background", negative="", count=2, seed=100, width=128, height=128,
                     steps=8, sampler="DPM++ 2M").replace(model=model)  # fmt: skip
    unit = Unit(rectangles="0,0,1,1", strength=0.9, prompt="a blue star, white background", dilation=0)
    engine = Engine(EngineOptions(use_cpu=frozenset({"all"})), [MODIFIER])
    pictures = [Image.fromarray(each.astype("uint8")) for each in pictures_of(engine, told(plan, unit))]
    seen = scorer.describe_all(pictures)
    assert [(each.colour, each.object) for each in seen] == [("blue", "star")] * 2


def test_extensions_that_know_the_whole_picture_do_not_act_on_regions(
    options: EngineOptions, make_plan: PlanMaker
) -> None:
    acted: list[tuple[str, int]] = []

    def noting(name: str) -> Callable[[Run], AbstractContextManager[None]]:
        @contextmanager
        def enter(run: Run) -> Iterator[None]:
            acted.append((name, run.width))
            yield

        return enter

    others = [Modifier(name, patches=(noting(name),)) for name in ("controlnet", "lora")]
    plan = make_plan().told("controlnet", CORNER).told("lora", CORNER)
    list(Engine(options, [*others, MODIFIER]).run(told(plan, CORNER.replace(width=72)), Control()))
    assert sorted(acted) == [("controlnet", 64), ("lora", 64), ("lora", 72)]
