"""Whole plans through the engine: what is yielded, in which order, and which pictures come out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny_models import make_folder
from webui.domain.events import ImageSkipped, Loading, Stepped
from webui.domain.plan import Plan, PreviewPlan
from webui.domain.sampling import SAMPLERS
from webui.engine.engine import Control, Engine, EngineOptions, ImageReady, PreviewImage
from webui.engine.families import sd1
from webui.errors import BadFile, BadRequest, GenerationError, OutOfMemory
from webui.weights.memory import Resident

PlanMaker = Callable[..., Plan]


def run(engine: Engine, plan: Plan, control: Control | None = None) -> list[object]:
    return list(engine.run(plan, control or Control()))


def pictures(happened: list[object]) -> dict[int, np.ndarray]:
    return {item.index: np.asarray(item.image, np.int16) for item in happened if isinstance(item, ImageReady)}


def differ(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one - other).max())


def test_what_happens_in_order(engine: Engine, make_plan: PlanMaker) -> None:
    plan = make_plan(count=3, batch_size=2, steps=3, preview=PreviewPlan(every=2, size=32))
    run(engine, plan)  # loaded from here on
    batch = ["Stepped 1", "Stepped 2", "PreviewImage", "Stepped 3"]
    names = [type(item).__name__ + (f" {item.step}" if isinstance(item, Stepped) else "") for item in run(engine, plan)]
    assert names == [*batch, "ImageReady", "ImageReady", *batch, "ImageReady"]


def test_loading_is_told_once_per_model(options: EngineOptions, make_plan: PlanMaker, tiny_file: Path) -> None:
    engine = Engine(options)
    folder, file = make_plan(steps=1), make_plan(steps=1, path=tiny_file)
    loads = [[item.model for item in run(engine, plan) if isinstance(item, Loading)] for plan in (folder, folder, file)]
    assert loads == [["tiny"], [], ["tiny"]]
    assert engine.facts()["dtype"] == "float32"


def test_released_models_are_loaded_again(options: EngineOptions, make_plan: PlanMaker) -> None:
    engine = Engine(options)
    before = pictures(run(engine, make_plan(steps=1)))[0]
    engine.release()
    assert "model" not in engine.facts()
    happened = run(engine, make_plan(steps=1))
    assert any(isinstance(item, Loading) for item in happened)
    assert differ(pictures(happened)[0], before) == 0


def test_size_and_range_of_the_picture(engine: Engine, make_plan: PlanMaker) -> None:
    happened = run(engine, make_plan(width=72, height=96, steps=1))
    image = next(item.image for item in happened if isinstance(item, ImageReady))
    assert (image.size, image.mode) == ((72, 96), "RGB")
    assert np.asarray(image).std() > 5


def test_file_and_folder_make_the_same_picture(engine: Engine, make_plan: PlanMaker, tiny_file: Path) -> None:
    folder = pictures(run(engine, make_plan()))[0]
    file = pictures(run(engine, make_plan(path=tiny_file)))[0]
    assert differ(folder, file) <= 1  # the weights are equal; sums may be rounded otherwise where they lie otherwise


@pytest.mark.parametrize("sampler", [info.name for info in SAMPLERS])
def test_image_k_of_a_batch_is_the_single_image_of_its_seed(engine: Engine, make_plan: PlanMaker, sampler: str) -> None:
    together = pictures(run(engine, make_plan(count=3, seed=11, sampler=sampler)))
    for index in range(3):
        alone = pictures(run(engine, make_plan(seed=11 + index, sampler=sampler)))[0]
        assert differ(together[index], alone) <= 1
    assert differ(together[0], together[1]) > 20


def test_prompts_of_a_batch_do_not_mix(engine: Engine, make_plan: PlanMaker) -> None:
    plan = make_plan(count=2)
    long = plan.images[1].replace(prompt="a castle, " * 40, negative_prompt="", seed=plan.images[0].seed)
    together = pictures(run(engine, plan.replace(images=(plan.images[0], long))))
    first = pictures(run(engine, make_plan()))[0]
    second = pictures(run(engine, make_plan(prompt=long.prompt, negative="")))[0]
    assert differ(together[0], first) <= 1
    assert differ(together[1], second) <= 1
    assert differ(first, second) > 5


def test_guidance_1_halves_the_batch(
    options: EngineOptions, make_plan: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(options)
    run(engine, make_plan(steps=1))
    rows: list[int] = []
    make_predict = sd1.make_predict

    def counting(model: Resident, unet: object) -> object:
        predict = make_predict(model, unet)

        def counted(latents, timestep, context):  # type: ignore[no-untyped-def]
            rows.append(latents.shape[0])
            return predict(latents, timestep, context)

        return counted

    monkeypatch.setattr(sd1, "make_predict", counting)
    run(engine, make_plan(steps=3, count=2, guidance=1.0))
    assert rows == [2, 2, 2]
    rows.clear()
    run(engine, make_plan(steps=3, count=2, guidance=7.0))
    assert rows == [4, 4, 4]
    rows.clear()
    running = engine.run(make_plan(steps=4), control := Control())
    next(running)
    control.interrupted = True
    assert [type(item) for item in running] == [ImageReady]
    assert rows == [2]


def test_interrupting_shows_what_is_there_and_ends(engine: Engine, make_plan: PlanMaker) -> None:
    control = Control()
    happened: list[object] = []
    for item in engine.run(make_plan(count=4, batch_size=2, steps=5), control):
        happened.append(item)
        control.interrupted = isinstance(item, Stepped) and item.step == 2
        if control.interrupted:
            break
    happened += engine.run(make_plan(), control)
    assert not any(isinstance(item, ImageReady) for item in happened), "an interrupted control starts nothing"

    control = Control()
    kinds: list[str] = []
    for item in engine.run(make_plan(count=4, batch_size=2, steps=5), control):
        kinds.append(type(item).__name__)
        if isinstance(item, Stepped) and item.step == 2:
            control.interrupted = True
    assert [kind for kind in kinds if kind != "Loading"] == ["Stepped", "Stepped", "ImageReady", "ImageReady"]


def test_skipping_gives_up_one_batch_only(engine: Engine, make_plan: PlanMaker) -> None:
    control = Control()
    kinds: list[str] = []
    skipped: list[int] = []
    for item in engine.run(make_plan(count=4, batch_size=2, steps=3), control):
        kinds.append(type(item).__name__)
        if isinstance(item, ImageSkipped):
            skipped.append(item.index)
        if isinstance(item, Stepped) and item.batch == 0:
            control.skipped = True
    done = [kind for kind in kinds if kind != "Loading"]
    assert done == ["Stepped", *["ImageSkipped"] * 2, *["Stepped"] * 3, *["ImageReady"] * 2]
    assert skipped == [0, 1]


def test_previews_do_not_change_the_picture(engine: Engine, make_plan: PlanMaker) -> None:
    without = pictures(run(engine, make_plan(steps=5, sampler="Euler a")))[0]
    happened = run(engine, make_plan(steps=5, sampler="Euler a", preview=PreviewPlan(every=1, size=40)))
    previews = [item.image for item in happened if isinstance(item, PreviewImage)]
    assert differ(pictures(happened)[0], without) == 0
    assert [image.size for image in previews] == [(40, 40)] * 4
    assert len({image.tobytes() for image in previews}) == 4


def test_a_bad_model_leaves_the_good_one_loaded(options: EngineOptions, make_plan: PlanMaker, tmp_path: Path) -> None:
    engine = Engine(options)
    run(engine, make_plan(steps=1))
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"<html>not found</html>")
    with pytest.raises(BadFile, match="HTML"):
        run(engine, make_plan(path=bad))
    assert engine.facts()["model"] == "tiny"
    assert not any(isinstance(item, Loading) for item in run(engine, make_plan(steps=1)))


def test_a_model_that_fails_while_loading_is_not_left_half_loaded(
    options: EngineOptions, make_plan: PlanMaker, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "torn")
    config = folder / "unet" / "config.json"
    config.write_text(config.read_text().replace('"layers_per_block": 1', '"layers_per_block": 2'))
    engine = Engine(options)
    with pytest.raises(BadFile, match="unet lacks"):
        run(engine, make_plan(path=folder))
    assert "model" not in engine.facts()
    assert pictures(run(engine, make_plan(steps=1)))


def test_a_request_the_model_cannot_do_is_the_users_error(engine: Engine, make_plan: PlanMaker) -> None:
    with pytest.raises(BadRequest):
        run(engine, make_plan(clip_skip=9))


class Failing:
    """Stands for torch refusing in the middle of a step."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self, model: Resident, unet: object) -> object:
        def predict(*_: object) -> object:
            raise self._error

        return predict


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (RuntimeError("mat1 and mat2 must have the same dtype"), GenerationError),
    ],
)
def test_only_own_errors_leave_the_engine(
    engine: Engine, make_plan: PlanMaker, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sd1, "make_predict", Failing(error))
        with pytest.raises(GenerationError) as caught:
            run(engine, make_plan())
    assert type(caught.value) is expected
    assert pictures(run(engine, make_plan(steps=1))), "the engine goes on"


def test_pictures_are_plain_images(engine: Engine, make_plan: PlanMaker) -> None:
    image = next(item.image for item in run(engine, make_plan(steps=1)) if isinstance(item, ImageReady))
    assert isinstance(image, Image.Image)
    assert image.info == {}
