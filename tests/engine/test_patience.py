"""Memory runs out at chosen moments; the picture must be the one that comes when it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.engine.conftest import PlanMaker
from webui.domain.events import Noted, Stepped
from webui.engine.control import Control
from webui.engine.engine import Engine, EngineOptions, ImageReady
from webui.errors import OutOfMemory
from webui.weights.memory import Resident, resident

OPTIONS = EngineOptions(use_cpu=frozenset({"all"}), half=False)


def run(engine: Engine, plan: Any) -> tuple[list[np.ndarray[Any, Any]], list[str], int]:
    """Return the pictures, the notes, and how many steps were told."""
    happened = list(engine.run(plan, Control()))
    pictures = [np.asarray(each.image, np.int16) for each in happened if isinstance(each, ImageReady)]
    notes = [each.message for each in happened if isinstance(each, Noted)]
    return pictures, notes, sum(isinstance(each, Stepped) for each in happened)


def network(engine: Engine, component: str) -> nn.Module:
    latest = engine._models.latest
    assert latest is not None
    return latest[1].network(component)


@contextmanager
def scarce(module: nn.Module, fails: Callable[[int, tuple[Any, ...], dict[str, Any]], bool]) -> Iterator[list[int]]:
    """Let calls of `module` run out of memory where `fails(number, args, kwargs)`; give the rows of each call."""
    rows: list[int] = []

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rows.append(len(args[0]) if args else 0)
        if fails(len(rows) - 1, args, kwargs):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    hook = module.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield rows
    finally:
        hook.remove()


@pytest.fixture
def saving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let models share the CPU's memory as if it were a small device."""

    def save_memory(model: Resident, lowest: str = "lowvram") -> bool:
        mode = model._next_mode() if model.placement.mode != lowest else None
        if mode is not None:
            model.change_placement(replace(model.placement, mode=mode))
            model.note(resident._MODES_IN_WORDS[mode])
        return mode is not None

    monkeypatch.setattr(Resident, "save_memory", save_memory)


def test_a_call_that_finds_no_room_is_made_again(saving: None, make_plan: PlanMaker) -> None:
    engine, plan = Engine(OPTIONS), make_plan(sampler="DPM++ 2M", schedule="Karras", steps=4)
    expected, _, steps = run(engine, plan)
    with scarce(network(engine, "unet"), lambda number, *_: number == 2):
        pictures, notes, told = run(engine, plan)
    assert notes == ["Too little memory: one part of the model is on the device at a time."]
    assert told == steps, "no step is done twice"
    np.testing.assert_array_equal(pictures, expected)


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M SDE"])
def test_smaller_parts_of_a_batch_draw_the_same(make_plan: PlanMaker, sampler: str) -> None:
    engine, plan = Engine(OPTIONS), make_plan(sampler=sampler, steps=4, count=3, batch_size=3)
    expected, _, _ = run(engine, plan)
    with scarce(network(engine, "unet"), lambda number, args, _: len(args[0]) > 2 and number > 0) as rows:
        pictures, notes, _ = run(engine, plan)
    assert rows[:8] == [6, 6, 3, 2, 2, 2, 2, 2], "from then on"
    assert notes == [
        "Too little memory: the network sees 3 of 6 pictures at a time.",
        "Too little memory: the network sees 2 of 6 pictures at a time.",
    ]
    assert len(pictures) == 3
    assert np.abs(np.subtract(pictures, expected)).max() <= 2, "up to rounding"


def test_all_that_can_be_done_is_done_in_turn(saving: None, make_plan: PlanMaker) -> None:
    engine, plan = Engine(OPTIONS), make_plan(steps=3)
    expected, _, _ = run(engine, plan)
    with scarce(network(engine, "unet"), lambda number, *_: number in (1, 2, 3)) as rows:
        pictures, notes, _ = run(engine, plan)
    assert rows[:5] == [2, 2, 2, 1, 1]
    assert [note.removeprefix("Too little memory: ") for note in notes] == [
        "one part of the model is on the device at a time.",
        "the network sees 1 of 2 pictures at a time.",
        "the model comes to the device layer by layer.",
    ]
    assert np.abs(np.subtract(pictures, expected)).max() <= 2
    again, notes, _ = run(engine, plan)
    assert notes == [] and engine.facts()["memory_mode"] == "normal", "the next job begins as before"
    np.testing.assert_array_equal(again, expected)


def test_texts_are_encoded_again(saving: None, make_plan: PlanMaker) -> None:
    engine, plan = Engine(OPTIONS), make_plan(prompt="another text", steps=2)
    run(engine, plan.replace(images=tuple(image.replace(prompt="the first") for image in plan.images)))
    with scarce(network(engine, "text_encoder").embeddings, lambda number, *_: number == 0):
        pictures, notes, _ = run(engine, plan)
    np.testing.assert_array_equal(pictures, run(Engine(OPTIONS), plan)[0])
    assert len(notes) == 1


def test_a_picture_is_decoded_again(make_plan: PlanMaker) -> None:
    engine, plan = Engine(OPTIONS), make_plan(steps=2, width=512, height=512)
    expected, _, steps = run(engine, plan)
    with scarce(network(engine, "vae").decoder, lambda number, *_: number == 0):
        pictures, notes, told = run(engine, plan)
    assert (notes, told) == (["Too little memory: the VAE works in tiles of 32 latents."], steps)
    assert np.abs(np.subtract(pictures, expected)).mean() < 10


def test_finished_images_stay_when_nothing_helps(make_plan: PlanMaker) -> None:
    engine, plan = Engine(OPTIONS), make_plan(steps=2, count=2, batch_size=1)
    run(engine, plan)
    done = []
    with scarce(network(engine, "unet"), lambda number, *_: number > 2), pytest.raises(OutOfMemory) as raised:
        for happened in engine.run(plan, Control()):
            done.append(happened)
    assert sum(isinstance(each, ImageReady) for each in done) == 1
    assert "Too little memory for 64×64 in batches of 1: it takes about" in raised.value.message
    assert "--lowvram" in raised.value.hint
    assert len(run(engine, plan)[0]) == 2, "the engine goes on"


def test_other_failures_are_not_repeated(make_plan: PlanMaker) -> None:
    engine, plan = Engine(OPTIONS), make_plan(steps=2)
    run(engine, plan)
    calls = []

    def broken(_: nn.Module, *__: object) -> None:
        calls.append(1)
        raise RuntimeError("shapes do not match")

    hook = network(engine, "unet").register_forward_pre_hook(broken)
    with pytest.raises(Exception, match="shapes do not match"):
        run(engine, plan)
    hook.remove()
    assert len(calls) == 1
