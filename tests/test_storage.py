"""A file is the old one or the new one, never something between."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from webui.errors import NotAllowed, StorageError
from webui.storage import check_name, replace_file


def refuse(number: int) -> Any:
    def refusing(*_arguments: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    return refusing


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "state" / "settings.json"
    for content in (b"one", b"two"):
        replace_file(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_a_refusal_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "settings.json"
    replace_file(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse(errno.ENOSPC))
        with pytest.raises(StorageError, match="the disk is full"):
            replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("write", "fsync", "replace"):
        original = getattr(os, name)

        def recorded(*arguments: Any, _name: str = name, _original: Any = original) -> Any:
            calls.append(_name)
            return _original(*arguments)

        monkeypatch.setattr(os, name, recorded)
    replace_file(tmp_path / "a", b"content")
    assert calls == ["write", "fsync", "replace", "fsync"]


def test_folders_that_cannot_be_synced_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync
    for number, is_fine in ((errno.EINVAL, True), (errno.EIO, False)):

        def refusing(descriptor: int, number: int = number) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(number, os.strerror(number))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", refusing)
        if is_fine:
            replace_file(tmp_path / "a", b"x")
        else:
            with pytest.raises(StorageError):
                replace_file(tmp_path / "a", b"x")


@pytest.mark.parametrize("name", ["a", "a.b", ".a", "cone", "console.log", "nullable", "com", "é" * 127, "a b"])
def test_good_names(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a:b", "a\n", "a.", "a ", "con", "LPT1.x", "é" * 128])
def test_bad_names(name: str) -> None:
    with pytest.raises(NotAllowed):
        check_name(name)
