"""Models that diffusers' own pipelines run: the same pictures, step by step, and a hand on the brake."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny_pipelines import KINDS, make_folder, make_pipeline
from webui.domain.events import ImageSkipped, Loading, Stepped
from webui.domain.models import Family
from webui.domain.pipelines import find_pipeline
from webui.domain.plan import Plan, PreviewPlan
from webui.engine.adapter import words_of
from webui.engine.control import Control
from webui.engine.engine import Engine, EngineOptions, ImageReady, PreviewImage
from webui.errors import BadRequest
from webui.weights.recognition.identify import identify

PlanMaker = Callable[..., Plan]
pytestmark = [
    # diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`callback_steps` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:`use_return_dict` is deprecated"),
]
PROMPTS = {"dit": "golden retriever", "consistency": "7"}
CLASSES = {"dit": [207], "consistency": [7]}
STEPS = {"consistency": 2}
STAGES = {"kandinsky22": 25}  # steps of the prior before those that were asked for


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("models")
    return {kind: make_folder(home / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def plan_other(make_plan: PlanMaker, folders: dict[str, Path]) -> PlanMaker:
    """Return a function like `make_plan` for one of the tiny pipelines."""

    def make(kind: str, **changes: Any) -> Plan:
        usual: dict[str, Any] = {"steps": STEPS.get(kind, 4), "prompt": PROMPTS.get(kind, "a cat"), "negative": ""}
        plan = make_plan(**{"path": folders[kind], **usual, **changes})
        return plan.replace(model=plan.model.replace(family=Family.OTHER))

    return make


def load_directly(folder: Path) -> Any:
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def directly(pipeline: Any, kind: str, plan: Plan) -> np.ndarray:
    """Return the picture that diffusers draws when it is called as its documentation says."""
    image = plan.images[0]
    asked: dict[str, Any] = {"num_inference_steps": plan.steps, "generator": torch.manual_seed(image.seed)}
    info = find_pipeline(type(pipeline).__name__)
    assert info is not None
    if info.guidance:
        asked["guidance_scale"] = plan.guidance
    if kind in CLASSES:
        asked["class_labels"] = CLASSES[kind]
    else:
        asked["prompt"] = image.prompt
    if info.negative and image.negative_prompt:
        asked["negative_prompt"] = image.negative_prompt
    if info.sized:
        asked |= {"width": plan.width, "height": plan.height}
    if kind in STAGES:
        asked["prior_num_inference_steps"] = STAGES[kind]
    return np.asarray(pipeline(**asked).images[0].convert("RGB"), np.int16)


def pictures(happened: list[Any]) -> list[np.ndarray]:
    return [np.asarray(item.image, np.int16) for item in happened if isinstance(item, ImageReady)]


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_those_of_the_pipeline_and_every_step_is_told(
    engine: Engine, folders: dict[str, Path], plan_other: PlanMaker, kind: str
) -> None:
    """With previews of every step, as far as the stage has something to show."""
    plan = plan_other(kind, count=2, preview=PreviewPlan(every=1, size=32))
    happened = list(engine.run(plan, Control()))
    steps = [(item.batch, item.step, item.steps) for item in happened if isinstance(item, Stepped)]
    total = STEPS.get(kind, 4) + STAGES.get(kind, 0)
    assert steps == [(batch, step, total) for batch in (0, 1) for step in range(1, total + 1)]
    shown = [item.image for item in happened if isinstance(item, PreviewImage)]
    assert len(shown) == 2 * (STEPS.get(kind, 4) - 1)
    assert all(max(image.size) <= 32 for image in shown)
    ours = pictures(happened)
    pipeline = load_directly(folders[kind])
    for number, picture in enumerate(ours):
        theirs = directly(pipeline, kind, plan.replace(images=plan.images[number:]))
        assert picture.shape == theirs.shape
        assert np.abs(picture - theirs).max() <= 1
    assert ours[0].std() > 1 and (ours[0] != ours[1]).any()


def test_parts_of_packages_that_diffusers_moved_are_found(
    engine: Engine, plan_other: PlanMaker, tmp_path: Path
) -> None:
    """Stable Cascade's folders name one that diffusers itself no longer finds. Steps and CFG are those of its prior."""
    torch.manual_seed(3)
    pipeline = make_pipeline(tmp_path / "cascade", "cascade")
    plan = plan_other("if", path=make_folder(tmp_path / "cascade", "cascade"), steps=3)
    (ours,) = pictures(list(engine.run(plan, Control())))
    theirs = pipeline(
        plan.images[0].prompt, prior_num_inference_steps=3, prior_guidance_scale=plan.guidance, width=64, height=64,
        generator=torch.manual_seed(plan.images[0].seed),
    ).images[0]  # fmt: skip
    assert np.abs(ours - np.asarray(theirs, np.int16)).max() <= 1


@pytest.mark.parametrize("kind", ["kandinsky22", "if"])
def test_negative_prompts(engine: Engine, folders: dict[str, Path], plan_other: PlanMaker, kind: str) -> None:
    plan = plan_other(kind, negative="dull")
    (ours,) = pictures(list(engine.run(plan, Control())))
    assert np.abs(ours - directly(load_directly(folders[kind]), kind, plan)).max() <= 1
    (without,) = pictures(list(engine.run(plan_other(kind), Control())))
    assert (ours != without).any()


def test_any_image_can_be_made_again_alone(engine: Engine, plan_other: PlanMaker) -> None:
    plan = plan_other("if", count=2)
    first, second = pictures(list(engine.run(plan, Control())))
    (alone,) = pictures(list(engine.run(plan.replace(images=plan.images[1:]), Control())))
    assert (alone == second).all() and (alone != first).any()


def test_whole_previews(engine: Engine, plan_other: PlanMaker) -> None:
    plan = plan_other("dit", preview=PreviewPlan(every=2, method="Full"))
    (shown,) = [item.image for item in engine.run(plan, Control()) if isinstance(item, PreviewImage)]
    assert shown.size == (64, 64)


def stop_after(engine: Engine, plan: Plan, steps: int, **flags: bool) -> list[Any]:
    control, happened = Control(), []
    for item in engine.run(plan, control):
        happened.append(item)
        if isinstance(item, Stepped) and item.step == steps and item.batch == 0:
            control.interrupted, control.skipped = flags.get("interrupted", False), flags.get("skipped", False)
    return happened


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_ends_the_run_after_the_step(engine: Engine, plan_other: PlanMaker, kind: str) -> None:
    """With the picture as far as it has come; the pipeline can be used again."""
    plan = plan_other(kind, count=2)
    stop = STAGES.get(kind, 0) + 1
    happened = stop_after(engine, plan, stop, interrupted=True)
    assert max(item.step for item in happened if isinstance(item, Stepped)) == stop
    (early,) = pictures(happened)
    whole = pictures(list(engine.run(plan, Control())))
    assert len(whole) == 2 and early.shape == whole[0].shape and (early != whole[0]).any()
    assert "pipeline" not in {thread.name for thread in threading.enumerate()}


def test_an_interrupt_before_there_is_anything_to_show_leaves_none(engine: Engine, plan_other: PlanMaker) -> None:
    assert pictures(stop_after(engine, plan_other("kandinsky22"), 2, interrupted=True)) == []


def test_a_skipped_image_is_given_up_alone(engine: Engine, plan_other: PlanMaker) -> None:
    happened = stop_after(engine, plan_other("dit", count=2), 1, skipped=True)
    assert [item.index for item in happened if isinstance(item, ImageSkipped)] == [0]
    assert [item.index for item in happened if isinstance(item, ImageReady)] == [1]


def test_closing_the_run_ends_the_thread(engine: Engine, plan_other: PlanMaker) -> None:
    run = engine.run(plan_other("if"), Control())
    while not isinstance(next(run), Stepped):
        pass
    run.close()  # type: ignore[attr-defined]
    assert "pipeline" not in {thread.name for thread in threading.enumerate()}


def test_classes_are_named_or_numbered(engine: Engine, plan_other: PlanMaker) -> None:
    named, numbered = (pictures(list(engine.run(plan_other("dit", prompt=text), Control()))) for text in ("tench", "0"))
    assert (named[0] == numbered[0]).all()
    with pytest.raises(BadRequest, match="none is called 'a cat'") as caught:
        list(engine.run(plan_other("dit", prompt="a cat"), Control()))
    with pytest.raises(BadRequest, match="none is called '1001'"):
        list(engine.run(plan_other("dit", prompt="1001"), Control()))
    assert caught.value.field == "prompt" and "golden retriever" in caught.value.hint


def test_what_the_pipeline_refuses_is_told(engine: Engine, plan_other: PlanMaker) -> None:
    with pytest.raises(BadRequest, match=r"a consistency model refused: .*larger than"):
        list(engine.run(plan_other("consistency", steps=100), Control()))


def test_words_without_brackets() -> None:
    assert words_of("a (red:1.3) [cat] <lora:x:1>") == "a red cat "


def loads(engine: Engine, plan: Plan) -> bool:
    return any([isinstance(item, Loading) for item in engine.run(plan, Control())])


def test_a_model_of_our_own_and_a_pipeline_take_turns(
    engine: Engine, make_plan: PlanMaker, plan_other: PlanMaker
) -> None:
    engine.release()
    plan = plan_other("if")
    assert loads(engine, plan) and not loads(engine, plan)
    facts = engine.facts()
    assert (facts["model"], facts["dtype"], facts["memory_mode"]) == ("if", "float32", "normal")
    assert isinstance(facts["weights"], int) and facts["weights"] > 0
    assert pictures(list(engine.run(make_plan(), Control())))
    assert engine.facts()["model"] == "tiny"
    assert loads(engine, plan)
    engine.release()
    assert "model" not in engine.facts()


def test_the_size_is_the_asked_one(engine: Engine, plan_other: PlanMaker) -> None:
    (picture,) = pictures(list(engine.run(plan_other("kandinsky3", width=128, height=64), Control())))
    assert picture.shape == (64, 128, 3)
    assert isinstance(Image.fromarray(picture.astype(np.uint8)), Image.Image)


def test_an_engine_of_another_mode_draws_the_same(plan_other: PlanMaker, engine: Engine) -> None:
    saving = Engine(EngineOptions(use_cpu=frozenset({"all"}), half=False, memory_mode="medvram"))
    ours, theirs = (pictures(list(each.run(plan_other("dit"), Control())))[0] for each in (saving, engine))
    assert (ours == theirs).all()


def test_what_folders_propose(folders: dict[str, Path]) -> None:
    assert identify(folders["dit"]).defaults.width == 64
    assert identify(folders["consistency"]).defaults.width == 32
    assert identify(folders["kandinsky3"]).variant == "Kandinsky 3"
