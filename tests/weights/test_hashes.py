from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest

from webui.errors import BadFile, StorageError
from webui.weights import hashes
from webui.weights.hashes import HashCache


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "state" / "hashes.json"


SHA256 = hashlib.sha256(b"weights").hexdigest()


def test_hash_is_computed_and_survives_a_restart(file: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = HashCache(store)
    assert cache.known(file) is None
    assert cache.sha256(file) == SHA256
    monkeypatch.setattr(hashes, "_digest", None)  # reading again would fail
    assert HashCache(store).sha256(file) == SHA256


def test_a_changed_file_is_hashed_again(file: Path, store: Path) -> None:
    cache = HashCache(store)
    cache.sha256(file)
    file.write_bytes(b"WEIGHTS")
    os.utime(file, ns=(1, 1))
    assert cache.known(file) is None
    assert cache.sha256(file) == hashlib.sha256(b"WEIGHTS").hexdigest()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"x": 1}',
        '{"x": [1, 2]}',
        '{"x": [1, 2, "short"]}',
        "[" * 50_000,
        '{"x": [1, "a", "b"]}',
    ],
)
def test_a_damaged_cache_only_costs_computing_again(content: str, file: Path, store: Path) -> None:
    store.parent.mkdir()
    store.write_text(content)
    assert HashCache(store).sha256(file) == SHA256
    assert json.loads(store.read_text())[str(file)][2] == SHA256


def test_a_file_that_changes_meanwhile_is_refused(file: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashes._digest

    def growing(path: Path) -> str:
        path.write_bytes(path.read_bytes() + b"more")
        return digest(path)

    monkeypatch.setattr(hashes, "_digest", growing)
    with pytest.raises(BadFile, match="changed"):
        HashCache(store).sha256(file)


def test_a_missing_file_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be read"):
        HashCache(store).sha256(tmp_path / "nothing")


def test_a_refusing_disk_leaves_nothing_half_written(file: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    HashCache(store).sha256(file)
    before = store.read_text()
    other = file.with_name("other.safetensors")
    other.write_bytes(b"other")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hashes.os, "replace", full)
    with pytest.raises(StorageError, match="No space left"):
        HashCache(store).sha256(other)
    assert store.read_text() == before
    assert list(store.parent.iterdir()) == [store]


def test_many_threads(tmp_path: Path, store: Path) -> None:
    files = [tmp_path / f"{number}.safetensors" for number in range(12)]
    for number, each in enumerate(files):
        each.write_bytes(bytes([number]))
    cache = HashCache(store)
    threads = [threading.Thread(target=cache.sha256, args=(each,)) for each in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [HashCache(store).known(each) for each in files] == [
        hashlib.sha256(bytes([number])).hexdigest() for number in range(12)
    ]
