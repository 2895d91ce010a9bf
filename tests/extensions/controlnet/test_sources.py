"""Which pictures guide: a unit's own, what img2img begins with, each image's own, and of a region that region."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import ControlNetModel
from PIL import Image, ImageDraw
from torch import Tensor

from extensions.controlnet.facts import UnitFacts
from extensions.controlnet.hints import Hints
from tests.engine_parts import PlanMaker, difference
from tests.extensions.controlnet.control_parts import HINT, HOLE, awake, control_models, steered, unit, write_file
from tests.tiny_models import make_networks
from webui.domain.plan import Plan
from webui.domain.start import FromImage, FromMaskedImage
from webui.engine.control import Control
from webui.engine.engine import EngineOptions
from webui.engine.generate import Batch, draw
from webui.engine.models import Models
from webui.engine.run import Modifier, Run
from webui.images.canvas import prepare

FIRST, SECOND, SPOT = "1" * 64, "2" * 64, "9" * 64


def picture(colour: str, size: tuple[int, int] = (64, 64)) -> Image.Image:
    """Return a picture of four quarters, of which the lower right one is of this colour."""
    drawn = Image.new("RGB", size, "black")
    ImageDraw.Draw(drawn).rectangle((size[0] // 2, size[1] // 2, *size), fill=colour)
    return drawn


def spot() -> Image.Image:
    drawn = Image.new("L", (128, 128), 0)
    ImageDraw.Draw(drawn).rectangle((64, 64, 127, 127), fill=255)
    return drawn


@pytest.fixture(scope="module")
def steered_models(options: EngineOptions) -> Models:
    models = control_models(options)
    models.inputs = {
        **models.inputs, FIRST: picture("red"), SECOND: picture("blue"), SPOT: spot(),
        HINT: picture("white", (256, 256)), HOLE: spot(),
    }  # fmt: skip
    return models


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = awake(ControlNetModel.from_unet(make_networks()["unet"]))
    return write_file(tmp_path_factory.mktemp("nets") / "net.safetensors", network.state_dict())


def draw_all(plan: Plan, models: Models) -> Tensor:
    """Return the latents of a plan that begins with pictures."""
    canvases = [canvas for image in plan.images if (canvas := prepare(plan, image, models.inputs)) is not None]
    work = draw(Batch(plan, plan.images, canvases), models, Control())
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value.latents


def seen_in(plan: Plan, models: Models, options: EngineOptions, asked: UnitFacts) -> list[np.ndarray]:
    """Return what a unit is shown in the first pass of a plan, [H,W,3] each."""
    seen: list[Image.Image] = []

    class Spy:
        def __enter__(self) -> None: ...

        def __exit__(self, *error: object) -> None: ...

    def spy(run: Run) -> Any:
        seen.extend(Hints().pictures(asked, run))
        return Spy()

    watching = Models(options, [Modifier("spy", patches=(spy,))])
    watching.inputs = models.inputs
    draw_all(plan.replace(extensions={"spy": {}}), watching)
    return [np.asarray(each) for each in seen]


def colours(pixels: np.ndarray) -> Sequence[int]:
    return tuple(int(level) for level in pixels[-1, -1])


def test_one_picture_guides_all_images(make_plan: PlanMaker, steered_models: Models, options: EngineOptions) -> None:
    for start in ({}, {"start": FromImage(images=(FIRST, SECOND), strength=1.0)}):
        plan = make_plan(count=2, steps=1, **start)
        (shown,) = seen_in(plan, steered_models, options, unit(None))
        assert colours(shown) == (255, 255, 255)


def test_without_one_each_image_follows_what_it_begins_with(
    make_plan: PlanMaker, steered_models: Models, options: EngineOptions, net: Path
) -> None:
    plan = make_plan(count=2, steps=2, start=FromImage(images=(FIRST, SECOND), strength=1.0))
    asked = unit(net, image=None)
    shown = seen_in(plan, steered_models, options, asked)
    assert [colours(each) for each in shown] == [(255, 0, 0), (0, 0, 255)]
    together = draw_all(steered(plan, asked), steered_models)
    for index, reference in enumerate((FIRST, SECOND)):
        alone = plan.replace(
            images=(plan.images[index].replace(index=0),), batch_size=1,
            start=FromImage(images=(reference,), strength=1.0),
        )  # fmt: skip
        own = draw_all(steered(alone, unit(net, image=reference)), steered_models)
        assert difference(together[index], own[0]) < 1e-4


def test_of_a_region_the_region_guides(
    make_plan: PlanMaker, steered_models: Models, options: EngineOptions, net: Path
) -> None:
    """Only the lower right quarter is painted, where the unit's picture, four times as large, is white."""
    start = FromMaskedImage(images=(HINT,), mask=SPOT, strength=1.0, area="masked", padding=0, mask_blur=0)
    plan = make_plan(steps=1, start=start)
    for asked in (unit(net), unit(net, image=None)):
        (shown,) = seen_in(plan, steered_models, options, asked)
        assert shown.shape == (64, 64, 3) and shown.mean() > 230
    whole = make_plan(steps=1, start=start.replace(area="whole"))
    (shown,) = seen_in(whole, steered_models, options, unit(net))
    assert 60 < shown.mean() < 68, "a quarter of it is white"


@pytest.mark.parametrize("own", [True, False])
def test_holes_are_where_img2img_paints(make_plan: PlanMaker, steered_models: Models, net: Path, own: bool) -> None:
    start = FromMaskedImage(images=(HINT,), mask=SPOT, strength=1.0, area="whole", mask_blur=0, content="original")
    plan = make_plan(steps=2, start=start)
    asked = unit(net, preprocessor="inpaint", image=HINT if own else None)
    with_own = draw_all(steered(plan, asked.replace(mask=SPOT, image=HINT)), steered_models)
    assert difference(draw_all(steered(plan, asked), steered_models), with_own) < 2e-3  # scaled in two ways
    assert difference(draw_all(steered(plan, unit(net)), steered_models), with_own) > 1e-2
