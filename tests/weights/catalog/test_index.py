from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from webui.domain.models import Kind
from webui.errors import BadFile
from webui.weights.catalog import hashes, index
from webui.weights.catalog.hashes import GivenUp, old_hash
from webui.weights.catalog.index import ModelIndex, Remembered, read_signature

MODEL = Remembered("/models/a.safetensors", "a 1 2", '{"variant":"x"}', "", "{}")
SHA256 = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "state" / "models.db"


def known(path: Path, file: Path) -> str | None:
    return ModelIndex(path).known_hash(str(file), read_signature(file))


def test_what_was_found_out_survives_a_restart(store: Path) -> None:
    first = ModelIndex(store)
    first.remember(Kind.LORA, [MODEL])
    changed = Remembered(MODEL.path, "a 2 3", "{}", "card", "{}")
    first.remember(Kind.LORA, [changed])
    first.remember(Kind.VAE, [MODEL])
    again = ModelIndex(store)
    assert again.recall(Kind.LORA) == {MODEL.path: changed}
    assert again.recall(Kind.VAE) == {MODEL.path: MODEL}
    assert again.recall(Kind.UPSCALER) == {}


def test_other_code_may_tell_other_things(store: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ModelIndex(store)
    first.remember(Kind.LORA, [MODEL])
    first.sha256(file)
    monkeypatch.setattr(index, "_code_stamp", lambda: "other")
    assert ModelIndex(store).recall(Kind.LORA) == {}
    assert known(store, file) == SHA256, "a hash stays what it is"


def test_hash_is_computed_once(file: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ModelIndex(store).sha256(file) == SHA256
    monkeypatch.setattr(index, "digest", None)  # reading again would fail
    assert ModelIndex(store).sha256(file) == SHA256


def test_a_changed_file_is_hashed_again(file: Path, store: Path) -> None:
    kept = ModelIndex(store)
    kept.sha256(file)
    file.write_bytes(b"WEIGHTS")
    os.utime(file, ns=(1, 1))
    assert kept.known_hash(str(file), read_signature(file)) is None
    assert kept.sha256(file) == hashlib.sha256(b"WEIGHTS").hexdigest()


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_index_is_set_aside(content: bytes, file: Path, store: Path) -> None:
    store.parent.mkdir()
    store.write_bytes(content)
    assert ModelIndex(store).sha256(file) == SHA256
    assert known(store, file) == SHA256
    aside = store.with_name("models.db.damaged")
    assert not content or aside.read_bytes() == content


def test_an_index_damaged_in_the_middle_is_set_aside(file: Path, store: Path) -> None:
    many = [Remembered(f"/m/{number}", "s", "{}" * 100, "", "{}") for number in range(500)]
    ModelIndex(store).remember(Kind.LORA, many)
    content = bytearray(store.read_bytes())
    content[8192:16384] = os.urandom(8192)
    store.write_bytes(content)
    assert ModelIndex(store).recall(Kind.LORA) == {}
    assert ModelIndex(store).sha256(file) == SHA256


def test_an_index_of_another_format_is_set_aside(store: Path) -> None:
    ModelIndex(store)
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("UPDATE state SET format = '99'")
    assert ModelIndex(store).recall(Kind.LORA) == {}
    assert store.with_name("models.db.damaged").exists()


def test_a_disk_that_refuses_costs_time_and_no_answer(
    file: Path, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = ModelIndex(store)
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("DROP TABLE hashes")
    with caplog.at_level(logging.WARNING):
        assert kept.sha256(file) == SHA256
    assert "cannot be written" in caplog.text
    assert kept.known_hash(str(file), read_signature(file)) == SHA256


def test_the_list_of_hashes_of_earlier_versions_is_taken_over_once(file: Path, store: Path) -> None:
    size, changed = read_signature(file)
    old = store.with_name("hashes.json")
    old.parent.mkdir()
    old.write_text(json.dumps({str(file): [size, changed, "ab" * 32], "/gone": [1, 2, "short"]}))
    assert known(store, file) == "ab" * 32
    assert not old.exists()
    assert known(store, file) == "ab" * 32


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"x": 1}', '{"x": [1, 2]}', "[" * 50_000, '{"x": [1, "a", "b"]}']
)
def test_a_damaged_old_list_only_costs_computing_again(content: str, file: Path, store: Path) -> None:
    store.parent.mkdir()
    store.with_name("hashes.json").write_text(content)
    assert ModelIndex(store).sha256(file) == SHA256


def test_a_file_that_changes_meanwhile_is_refused(file: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def growing(path: Path, go_on: object) -> str:
        path.write_bytes(path.read_bytes() + b"more")
        return "0" * 64

    monkeypatch.setattr(index, "digest", growing)
    with pytest.raises(BadFile, match="changed"):
        ModelIndex(store).sha256(file)


def test_a_missing_file_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be read"):
        ModelIndex(store).sha256(tmp_path / "nothing")


def test_quiet_hashing_can_be_stopped(file: Path, store: Path) -> None:
    kept = ModelIndex(store)
    with pytest.raises(GivenUp):
        kept.sha256_quietly(file, lambda: False)
    assert kept.known_hash(str(file), read_signature(file)) is None
    assert kept.sha256_quietly(file, lambda: True) == SHA256


def test_who_needs_a_hash_now_does_not_wait_for_the_quiet_one(tmp_path: Path, store: Path) -> None:
    large = tmp_path / "large.safetensors"
    large.write_bytes(bytes(3 * hashes._BLOCK))
    kept, asked, outcome = ModelIndex(store), threading.Event(), []

    def slowly() -> bool:
        asked.set()
        time.sleep(0.2)
        return True

    def hash_quietly() -> None:
        try:
            kept.sha256_quietly(large, slowly)
            outcome.append("done")
        except GivenUp:
            outcome.append("given up")

    quiet = threading.Thread(target=hash_quietly)
    kept._urgent.add(str(large))  # as long as somebody else reads it
    quiet.start()
    quiet.join()
    assert outcome == ["given up"]
    assert kept.sha256(large) == hashlib.sha256(large.read_bytes()).hexdigest()


def test_many_threads_ask_at_once(tmp_path: Path, store: Path) -> None:
    files = [tmp_path / f"{number}.safetensors" for number in range(12)]
    for number, each in enumerate(files):
        each.write_bytes(bytes([number]))
    kept = ModelIndex(store)
    threads = [threading.Thread(target=kept.sha256, args=(each,)) for each in files * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, each in enumerate(files):
        assert known(store, each) == hashlib.sha256(bytes([number])).hexdigest()


def test_the_old_hash_is_that_of_a_piece(tmp_path: Path) -> None:
    file = tmp_path / "model.ckpt"
    piece = bytes(range(256)) * 256
    file.write_bytes(bytes(0x100000) + piece + b"and more")
    assert old_hash(file) == hashlib.sha256(piece).hexdigest()[:8]
    small = tmp_path / "small.ckpt"
    small.write_bytes(b"small")
    assert old_hash(small) == "e3b0c442", "what A1111 made of a file that ends before the piece begins"
