"""The wildcards folder: names, globs, lines, and nothing outside the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from webui.prompt.wildcards import Wildcards


@pytest.fixture
def wildcards(tmp_path: Path) -> Wildcards:
    folder = tmp_path / "wildcards"
    for name, content in {
        "color.txt": "\ufeffred\n\n# not this\n  blue \n",
        "people/hair.txt": "curly\r\nstraight\r\n",
        "people/old/beard.txt": "long",
        "people/notes.md": "no",
        ".hidden/secret.txt": "no",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode())
    (tmp_path / "outside.txt").write_text("no", encoding="utf-8")
    return Wildcards(folder)


@pytest.mark.parametrize(
    ("pattern", "lines"),
    [
        ("color", ("red", "blue")),
        ("COLOR", ("red", "blue")),
        ("people/hair", ("curly", "straight")),
        ("/people/hair", ("curly", "straight")),
        ("people/*", ("curly", "straight")),
        ("people/**", ("curly", "straight", "long")),
        ("*/h*", ("curly", "straight")),
        ("**/beard", ("long",)),
        ("**/color", ("red", "blue")),
        ("*", ("red", "blue")),
        ("hair", ()),
        ("../outside", ()),
        ("people/../color", ()),
        ("people/notes", ()),
        ("secret", ()),
        (".", ()),
    ],
)
def test_lines(wildcards: Wildcards, pattern: str, lines: tuple[str, ...]) -> None:
    assert wildcards.lines(pattern) == lines


def test_names(wildcards: Wildcards) -> None:
    assert wildcards.names() == ("color", "people/hair", "people/old/beard")


def test_a_missing_folder_has_no_wildcards(tmp_path: Path) -> None:
    assert Wildcards(tmp_path / "none").names() == () and Wildcards(tmp_path / "none").lines("*") == ()


def test_bytes_that_are_no_text_do_not_stop_the_rest(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9\nb\n")
    assert Wildcards(tmp_path).lines("a") == ("caf\ufffd", "b")
