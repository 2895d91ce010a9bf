"""Nothing leaves its folder, nothing is overwritten, nothing half-written stays."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from webui.errors import NotAllowed, StorageError
from webui.images.save import contained, next_number, save_image, save_numbered


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Containment


@pytest.mark.parametrize(
    "parts", [("a.png",), ("a", "b.png"), ("a/b/c.png",), ("ünï", "猫.png"), (".hidden",), ("-x",)]
)
def test_paths_below_the_root_are_allowed(tmp_path: Path, parts: tuple[str, ...]) -> None:
    assert contained(tmp_path, *parts) == tmp_path.resolve().joinpath(*parts)


HOSTILE = [
    *["../" * depth + "x" for depth in (1, 2, 20)],
    *["", ".", "..", "...", "a/../../b", "a//b", "a/", "/etc/passwd", "//etc/passwd", "a/./b", "a/.."],
    *["..\\x", "a\\b", "C:\\x", "C:x", "\\\\host\\share", "\\\\?\\C:\\x", "a:b", "x::$DATA", "file:///etc/passwd"],
    *["a\0b", "a\nb", "a\x7fb", "a*b", "a?b", 'a"b', "a|b", "a<b", "x ", "x.", "a /b"],
    *["CON", "nul.png", "COM1.txt", "lpt¹", "con .x", "a/aux/b", "CONIN$", "Nul"],
    *["x" * 256, "é" * 128, "🐸" * 64, "a\ud800b", "x/" * 5000 + "x" * 300],
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotAllowed):
        contained(tmp_path, name)
    with pytest.raises(NotAllowed):
        contained(tmp_path, "folder", name)


def test_the_root_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAllowed):
        contained(tmp_path)


def test_symlinks_may_not_lead_out(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "root-beside"  # a sibling whose name begins like the root's
    root.mkdir()
    outside.mkdir()
    (root / "inside").mkdir()
    (root / "in").symlink_to(root / "inside")
    (root / "out").symlink_to(outside)
    (root / "loop").symlink_to(root / "loop")
    assert contained(root, "in", "x") == (root / "inside" / "x").resolve()
    for name in ("out", "out/x"):
        with pytest.raises(NotAllowed):
            contained(root, name)
    (root / "self").symlink_to(root)
    with pytest.raises(NotAllowed):
        contained(root, "self")


def test_a_root_that_is_a_symlink_works(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert contained(tmp_path / "root", "x.png") == (tmp_path / "real" / "x.png").resolve()


# Saving


def test_content_arrives_and_no_other_file(tmp_path: Path) -> None:
    path = save_image(tmp_path / "new" / "folder", "a.png", b"content")
    assert path.read_bytes() == b"content"
    assert names(path.parent) == ["a.png"]


def test_a_taken_name_is_never_overwritten(tmp_path: Path) -> None:
    paths = [save_image(tmp_path, "a.png", content) for content in (b"1", b"2", b"3")]
    assert [path.name for path in paths] == ["a.png", "a-1.png", "a-2.png"]
    assert [path.read_bytes() for path in paths] == [b"1", b"2", b"3"]


def test_a_hostile_name_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotAllowed):
        save_image(tmp_path / "outputs", "../a.png", b"x")
    assert names(tmp_path) == ["outputs"] and names(tmp_path / "outputs") == []


def numbered(number: int) -> str:
    return f"{number:05}-7.png"


def test_numbers_go_on_after_the_highest(tmp_path: Path) -> None:
    assert next_number(tmp_path / "missing") == 0
    for name in ("00003-1.png", "00007.txt", "a-00009.png", "00002-99999.png", "12x.png", "-5.png", "9" * 40):
        (tmp_path / name).touch()
    assert next_number(tmp_path) == 8
    assert save_numbered(tmp_path, numbered, b"x").name == "00008-7.png"
    assert save_numbered(tmp_path / "new", numbered, b"x").name == "00000-7.png"


def test_threads_saving_at_once_lose_nothing(tmp_path: Path) -> None:
    def save(content: bytes) -> None:
        for _ in range(10):
            save_numbered(tmp_path, numbered, content)

    threads = [threading.Thread(target=save, args=(bytes([number]) * 1000,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(tmp_path) == [numbered(number) for number in range(40)]
    contents = sorted(path.read_bytes()[0] for path in tmp_path.iterdir())
    assert contents == sorted([0, 1, 2, 3] * 10)


def refuse(number: int) -> Any:
    def refusing(*_arguments: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    return refusing


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_without_hard_links_nothing_is_overwritten_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", refuse(number))
    paths = [save_image(tmp_path, "a.png", content) for content in (b"1", b"2")]
    assert [path.read_bytes() for path in paths] == [b"1", b"2"]
    monkeypatch.setattr(os, "replace", refuse(errno.EIO))
    with pytest.raises(StorageError):
        save_image(tmp_path, "b.png", b"3")
    assert names(tmp_path) == ["a-1.png", "a.png"]


@pytest.mark.parametrize("call", ["open", "write", "fsync", "link", "mkdir"])
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EACCES, "access was denied"),
        (errno.EIO, "the disk reported an error"),
    ],
)
def test_refusals_are_explained_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, words: str
) -> None:
    (tmp_path / "outputs").mkdir()
    folder = tmp_path / "outputs" / "new" if call == "mkdir" else tmp_path / "outputs"
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse(number))
        with pytest.raises(StorageError) as caught:
            save_image(folder, "a.png", b"content")
        with pytest.raises(StorageError):
            save_numbered(folder, numbered, b"content")
    assert words in caught.value.message and str(tmp_path) in caught.value.message
    assert caught.value.hint
    assert names(tmp_path / "outputs") == []


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, bytes(content[:3])))
    assert save_image(tmp_path, "a.png", b"0123456789").read_bytes() == b"0123456789"


def test_a_name_too_long_for_the_disk_is_explained(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(20):
        deep = deep / ("x" * 250)
    with pytest.raises(StorageError, match="the name is too long"):
        save_image(deep, "a.png", b"x")


def test_a_file_where_a_folder_must_be_is_explained(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_bytes(b"")
    with pytest.raises(StorageError, match="a file stands where a folder must be"):
        save_image(tmp_path / "outputs", "a.png", b"x")
    with pytest.raises(StorageError):
        save_numbered(tmp_path / "outputs" / "below", numbered, b"x")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounting a tmpfs needs Linux")
def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    kept = save_image(small_disk, "a.png", b"a" * 40_000)
    with pytest.raises(StorageError, match="the disk is full"):
        save_image(small_disk, "b.png", b"b" * 40_000)
    assert names(small_disk) == ["a.png"]
    assert kept.read_bytes() == b"a" * 40_000
    kept.unlink()
    assert save_image(small_disk, "b.png", b"b" * 40_000).read_bytes() == b"b" * 40_000


@pytest.mark.skipif(sys.platform != "linux", reason="mounting a tmpfs needs Linux")
def test_a_disk_that_is_really_read_only(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StorageError, match="the disk is read-only"):
        save_image(small_disk, "a.png", b"x")
