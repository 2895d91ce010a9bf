"""Styles: A1111's files are read and written, damaged ones are named, and the prompt gets its texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.domain.request import MAX_PROMPT
from webui.errors import BadFile, BadRequest, NotFound
from webui.prompt.styles import Style, Styles, apply, find, read, write

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            'name,prompt,negative_prompt\nfilm,"grain, {prompt}",digital\n',
            [Style(name="film", prompt="grain, {prompt}", negative_prompt="digital")],
        ),
        ("name,text\nold,oil painting\n", [Style(name="old", prompt="oil painting")]),
        ("negative_prompt,name,prompt\r\nbad,a,b\r\n", [Style(name="a", prompt="b", negative_prompt="bad")]),
        ("name,prompt\n# a comment,x\n,nameless\n\nshort\n", [Style(name="short")]),
        ('name,prompt\ntwo lines,"a\nb"\n', [Style(name="two lines", prompt="a\nb")]),
        ("name,prompt,more\na,b,c,d,e\n", [Style(name="a", prompt="b")]),
        ("", []),
        ("name,prompt,negative_prompt\n", []),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_files_are_read(tmp_path: Path, content: str, expected: list[Style], mark: str) -> None:
    file = tmp_path / "styles.csv"
    file.write_bytes((mark + content).encode())
    assert list(read(file)) == expected


@pytest.mark.parametrize(
    "content",
    [b"title,words\na,b\n", b"name,prompt\n\xff\xfe,\n", b'name,prompt\na,"' + b"x" * 200_000, b"\x89PNG\r\n"],
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "styles.csv"
    file.write_bytes(content)
    with pytest.raises(BadFile):
        read(file)


@given(st.lists(st.builds(Style, name=WORDS.filter(lambda name: name and name[0] != "#"), prompt=WORDS), max_size=4))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, styles: list[Style]) -> None:
    file = tmp_path_factory.mktemp("styles") / "styles.csv"
    file.write_bytes(write(styles))
    assert list(read(file)) == styles


def test_written_as_a1111_does() -> None:
    content = write([Style(name="a", prompt="b, c", negative_prompt="d")])
    assert content == b'\xef\xbb\xbfname,prompt,negative_prompt\r\na,"b, c",d\r\n'


def test_a_folder_without_files_has_no_styles(tmp_path: Path) -> None:
    assert Styles(tmp_path).all() == {} and Styles(tmp_path).problems() == ()


def test_several_files_are_joined_and_the_first_name_counts(tmp_path: Path) -> None:
    (tmp_path / "styles_more.csv").write_text("name,prompt\nfilm,other\nink,black\n", encoding="utf-8")
    (tmp_path / "styles.csv").write_text("name,prompt\nfilm,grain\n", encoding="utf-8")
    assert {name: style.prompt for name, style in Styles(tmp_path).all().items()} == {"film": "grain", "ink": "black"}


def test_a_damaged_file_is_told_and_the_others_are_used(tmp_path: Path) -> None:
    (tmp_path / "styles.csv").write_text("nothing here", encoding="utf-8")
    (tmp_path / "styles_more.csv").write_text("name,prompt\nink,black\n", encoding="utf-8")
    styles = Styles(tmp_path)
    assert list(styles.all()) == ["ink"]
    (problem,) = styles.problems()
    assert problem.startswith("styles.csv: it has no columns")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("name,prompt\nsecret,x\n", encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "styles.csv").symlink_to(tmp_path / "secret.csv")
    styles = Styles(tmp_path / "data")
    assert styles.all() == {} and "styles.csv" in styles.problems()[0]


def test_styles_are_saved_replaced_and_deleted(tmp_path: Path) -> None:
    styles = Styles(tmp_path)
    styles.save(Style(name="film", prompt="grain"))
    styles.save(Style(name="ink", prompt="black"))
    styles.save(Style(name="film", prompt="more grain"))
    assert {name: style.prompt for name, style in styles.all().items()} == {"ink": "black", "film": "more grain"}
    assert {style.prompt for style in read(tmp_path / "styles.csv.bak")} == {"grain", "black"}
    styles.delete("film")
    assert list(styles.all()) == ["ink"]
    with pytest.raises(NotFound):
        styles.delete("film")


@pytest.mark.parametrize("name", ["", "  ", "# no"])
def test_names_that_could_not_be_read_back_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadRequest):
        Styles(tmp_path).save(Style(name=name))
    assert not (tmp_path / "styles.csv").exists()


def test_a_damaged_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "styles.csv").write_text("precious but broken", encoding="utf-8")
    with pytest.raises(BadFile, match="cannot be changed"):
        Styles(tmp_path).save(Style(name="a"))
    assert (tmp_path / "styles.csv").read_text(encoding="utf-8") == "precious but broken"


def test_an_unknown_style_names_the_nearest() -> None:
    with pytest.raises(NotFound, match="Did you mean 'film'"):
        find("flim", {"film": Style(name="film")})


@pytest.mark.parametrize(
    ("prompt", "texts", "expected"),
    [
        ("a cat", [], "a cat"),
        ("a cat", ["oil"], "a cat, oil"),
        (" a cat ", [" oil "], "a cat, oil"),
        ("a cat", [""], "a cat"),
        ("", ["oil", "ink"], "oil, ink"),
        ("a cat", ["film of {prompt}, grain", "bright"], "film of a cat, grain, bright"),
        ("a cat", ["{prompt} and {prompt}"], "a cat and a cat"),
    ],
)
def test_apply(prompt: str, texts: list[str], expected: str) -> None:
    assert apply(prompt, texts) == expected


@pytest.mark.parametrize("texts", [["x" * MAX_PROMPT], ["{prompt}" * 1000] * 5])
def test_styles_cannot_make_endless_prompts(texts: list[str]) -> None:
    with pytest.raises(BadRequest, match="longer than"):
        apply("a cat " * 100, texts)
