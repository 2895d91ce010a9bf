"""Models made of models by real processes: in order, with progress, given up without a trace."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from tests import tiny_models
from webui.domain.model_work import AskedWork, WorkView
from webui.domain.models import Family, Kind, ModelInfo
from webui.errors import BadRequest, NotAllowed, NotFound
from webui.weights.recognition.identify import identify
from webui.workshop import Workshop


class Parts:
    """A workshop over two tiny models, `one` and `two`."""

    def __init__(self, root: Path) -> None:
        self.models = {
            name: tiny_models.make_single_file(root / "models" / f"{name}.safetensors", seed)
            for seed, name in enumerate(("one", "two"))
        }
        self.folder, self.loras = root / "checkpoints", root / "loras"
        self.made = threading.Semaphore(0)
        self.workshop = Workshop(self.find, self.folder, self.loras, self.made.release)

    def find(self, kind: Kind, name: str) -> ModelInfo:
        if name not in self.models:
            raise NotFound(f"Model not found: {name!r}.", field="model")
        return ModelInfo(name=name, path=self.models[name], kind=kind)

    def submit(self, **fields: object) -> WorkView:
        return self.workshop.submit(TypeAdapter(AskedWork).validate_python(fields))

    def wait(self, view: WorkView) -> WorkView:
        """Return the piece of work when it has ended."""
        ticking = threading.Event()
        for _ in range(6000):
            if self.workshop.view(view.id).state not in ("waiting", "running"):
                break
            ticking.wait(0.02)
        return self.workshop.view(view.id)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    (tmp_path / "models").mkdir()
    opened = Parts(tmp_path)
    yield opened
    opened.workshop.stop()


def test_work_is_done_in_order_and_told(parts: Parts) -> None:
    merged = parts.submit(kind="merge", first="one", second="two", target="between")
    lora = parts.submit(kind="extract", tuned="one", base="two", target="difference", rank=4)
    broken = parts.submit(kind="extract", tuned="one", base="one", target="nothing")
    assert (merged.target, lora.target) == ("between.safetensors", "difference.safetensors")
    assert parts.wait(merged).state == parts.wait(lora).state == "finished"
    assert parts.wait(merged).progress is not None
    failed = parts.wait(broken)
    assert (failed.state, failed.field) == ("failed", "tuned") and "do not differ" in failed.error
    assert identify(parts.folder / "between.safetensors").family is Family.SD1
    assert [path.name for path in parts.loras.iterdir()] == ["difference.safetensors"]
    assert parts.made.acquire(timeout=0) and parts.made.acquire(timeout=0) and not parts.made.acquire(timeout=0)
    assert [view.id for view in parts.workshop.views()] == [broken.id, lora.id, merged.id]


def test_work_that_is_given_up_leaves_nothing(parts: Parts) -> None:
    running = parts.submit(kind="convert", source="one", target="first")
    waiting = parts.submit(kind="convert", source="one", target="second")
    for view in (waiting, running):
        assert parts.workshop.cancel(view.id).state == "cancelled"
    parts.workshop.stop()
    assert not parts.folder.exists() or list(parts.folder.iterdir()) == []
    assert parts.workshop.cancel(running.id).state == "cancelled"


def test_nothing_is_replaced(parts: Parts) -> None:
    parts.folder.mkdir()
    (parts.folder / "mine.safetensors").write_bytes(b"")
    with pytest.raises(BadRequest, match=r"There is a mine\.safetensors already") as caught:
        parts.submit(kind="convert", source="one", target="mine")
    assert caught.value.field == "target"
    parts.submit(kind="convert", source="one", target="new")
    with pytest.raises(BadRequest, match="being made already"):
        parts.submit(kind="convert", source="two", target="new.safetensors")


@pytest.mark.parametrize("target", ["", "..", "a/b", "../x", "con", "a\\b", "x" * 300, "a\0b"])
def test_targets_are_plain_names(parts: Parts, target: str) -> None:
    with pytest.raises(NotAllowed) as caught:
        parts.submit(kind="convert", source="one", target=target)
    assert caught.value.field == "target"


def test_unknown_sources_are_named_by_their_field(parts: Parts) -> None:
    with pytest.raises(NotFound) as caught:
        parts.submit(kind="merge", first="one", second="three", target="x")
    assert caught.value.field == "second"
    with pytest.raises(NotFound, match="no such work"):
        parts.workshop.view("x")


def test_a_process_that_dies_is_told(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webui.workshop._COMMAND", ("python3", "-c", "import os; os.abort()"))
    ended = parts.wait(parts.submit(kind="convert", source="one", target="x"))
    assert ended.state == "failed" and "memory" in ended.error
