"""Extra-network tags leave the text; nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.prompt.tags import Tag, extract


@pytest.mark.parametrize(
    ("prompt", "text", "tags"),
    [
        ("a cat", "a cat", ()),
        ("a <lora:fur:0.8> cat", "a  cat", (Tag("lora", ("fur", "0.8")),)),
        ("<lora:a><hypernet:b:1>", "", (Tag("lora", ("a",)), Tag("hypernet", ("b", "1")))),
        ("<lora:fur:te=0.5:unet=1:dyn=4>", "", (Tag("lora", ("fur",), (("te", "0.5"), ("unet", "1"), ("dyn", "4"))),)),
        ("<lora:a=b=c>", "", (Tag("lora", (), (("a", "b=c"),)),)),
        ("<lora:sub folder/näme (v1.0):1>", "", (Tag("lora", ("sub folder/näme (v1.0)", "1")),)),
        ("a < b > c <lora> <lora:> <:x> <lo ra:x>", "a < b > c <lora> <lora:> <:x> <lo ra:x>", ()),
        ("<lora:a", "<lora:a", ()),
        ("<<lora:a>>", "<>", (Tag("lora", ("a",)),)),
    ],
)
def test_extract(prompt: str, text: str, tags: tuple[Tag, ...]) -> None:
    assert extract(prompt) == (text, tags)


@given(st.text(alphabet=st.sampled_from(list("<>:=lora ab1.")), max_size=80))
def test_any_text_is_read(prompt: str) -> None:
    text, tags = extract(prompt)
    assert text == prompt or tags


@pytest.mark.parametrize("unit", ["<a:", "<a:b>", "<", ">", "<a", "a:=", "<:>"])
def test_long_text_is_read_whole(unit: str) -> None:
    extract((unit * 100_000)[:100_000])
