"""The librarian on real folders: new files, changed ones, missing hashes, and an end at any time."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.header_files import write_header
from webui.library.librarian import Librarian
from webui.weights.catalog import index as index_module
from webui.weights.catalog.files import ModelFiles
from webui.weights.catalog.index import ModelIndex
from webui.weights.catalog.places import ModelFolders

LORA = {"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (4, 768)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "Lora"
    folder.mkdir(parents=True)
    return folder


def find(root: Path, patience: float | None = None) -> ModelFiles:
    return ModelFiles.find(
        ModelFolders.below(root.parent), ModelIndex(root.parent.parent / "models.db"), patience=patience
    )


@contextmanager
def at_work(
    files: ModelFiles, is_busy: Callable[[], bool] = lambda: False, may_hash: Callable[[], bool] = lambda: True
) -> Iterator[Librarian]:
    librarian = Librarian(files, is_busy, may_hash, look_every=0.02)
    librarian.start()
    try:
        yield librarian
    finally:
        librarian.stop()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_files_that_nobody_looked_into_are_listed_at_once_and_read_soon(root: Path) -> None:
    for number in range(5):
        write_header(root / f"{number}.safetensors", LORA)
    (root / "page.safetensors").write_bytes(b"<html>")
    files = find(root, patience=0.0)
    assert [model.name for model in files.loras.models()] == ["0", "1", "2", "3", "4", "page"]
    assert all(model.pending and model.problem is None for model in files.loras.models())
    with at_work(files):
        until(lambda: not files.loras.has_pending)
    assert [model.name for model in files.loras.models() if model.problem] == ["page"]


def test_a_model_that_is_wanted_before_is_read_at_once(root: Path) -> None:
    write_header(root / "a.safetensors", LORA)
    write_header(root / "b.safetensors", {"x": (1,)})
    loras = find(root, patience=0.0).loras
    assert loras.find("a").family is not None
    assert loras.first_usable() == loras.find("a")
    assert loras.settle(loras.look_up("b")).problem is not None


def test_new_and_removed_files_are_seen(root: Path) -> None:
    files = find(root)
    with at_work(files):
        write_header(root / "sub" / "new.safetensors", LORA)
        until(lambda: [model.name for model in files.loras.models()] == ["sub/new"])
        (root / "sub" / "new.safetensors").unlink()
        until(lambda: files.loras.models() == ())


def test_a_file_is_read_again_when_it_is_complete(root: Path) -> None:
    whole = write_header(root / "whole.bin", LORA).read_bytes()
    (root / "whole.bin").unlink()
    growing = root / "growing.safetensors"
    growing.write_bytes(whole[:-5])
    files = find(root)
    assert "truncated" in (files.loras.look_up("growing").problem or "")
    with at_work(files):
        with growing.open("ab") as file:
            file.write(whole[-5:])
        until(lambda: files.loras.look_up("growing").problem is None)


def test_hashes_are_computed_and_kept(root: Path) -> None:
    file = write_header(root / "a.safetensors", LORA)
    files = find(root)
    with at_work(files):
        until(lambda: files.loras.models()[0].sha256 is not None)
    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    assert files.loras.find("a").sha256 == expected
    assert find(root).loras.find(expected[:10]).sha256 == expected


def test_nothing_is_hashed_against_the_users_will(root: Path) -> None:
    write_header(root / "a.safetensors", LORA)
    files = find(root)
    with at_work(files, may_hash=lambda: False):
        write_header(root / "b.safetensors", LORA)
        until(lambda: len(files.loras.models()) == 2)
    assert all(model.sha256 is None for model in files.loras.models())


def test_hashing_waits_while_a_job_runs(root: Path) -> None:
    write_header(root / "a.safetensors", LORA)
    files, asked, busy = find(root), threading.Event(), threading.Event()
    busy.set()

    def is_busy() -> bool:
        asked.set()
        return busy.is_set()

    with at_work(files, is_busy=is_busy):
        assert asked.wait(20)
        assert files.loras.models()[0].sha256 is None
        busy.clear()
        until(lambda: files.loras.models()[0].sha256 is not None)


def test_it_ends_in_the_middle_of_a_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_header(root / "a.safetensors", LORA)
    files, begun = find(root), threading.Event()

    def endless(path: Path, go_on: Callable[[], bool]) -> str:
        begun.set()
        while go_on():
            time.sleep(0.01)
        raise index_module.GivenUp

    monkeypatch.setattr(index_module, "digest", endless)
    with at_work(files):
        assert begun.wait(20)
    assert files.loras.models()[0].sha256 is None


def test_a_file_that_cannot_be_hashed_does_not_hold_up_the_others(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_header(root / "a.safetensors", LORA)
    write_header(root / "b.safetensors", LORA)
    files, digest = find(root), index_module.digest

    def failing(path: Path, go_on: Callable[[], bool]) -> str:
        if path.name == "a.safetensors":
            raise OSError(5, "Input/output error")
        return digest(path, go_on)

    monkeypatch.setattr(index_module, "digest", failing)
    with at_work(files):
        until(lambda: files.loras.models()[1].sha256 is not None)
    assert files.loras.models()[0].sha256 is None
