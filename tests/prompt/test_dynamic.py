"""Templates: every way of choosing, exact replay, and clear ends for endless ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.domain.request import MAX_PROMPT
from webui.errors import BadRequest
from webui.prompt.dynamic import DynamicPrompts

LINES: dict[str, tuple[str, ...]] = {
    "color": ("red", "blue"),
    "thing": ("a __color__ {cat|dog}",),
    "rare": ("1::often", "0::never"),
    "self": ("x __self__",),
    "double": ("__double2__ __double2__",),
    "long": ("x" * 40_000,),
    "empty_line": ("",),
}


def prompts(template: str, count: int = 60) -> set[str]:
    resolver = DynamicPrompts(lambda name: LINES.get(name, ()))
    return {resolver.resolve(template, str(seed)) for seed in range(count)}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a {red|blue} cat", {"a red cat", "a blue cat"}),
        ("{a|b} {c|d}", {"a c", "a d", "b c", "b d"}),
        ("{a|{b|c} d}", {"a", "b d", "c d"}),
        ("{|a}", {"", "a"}),
        ("{2$$a|b|c}", {f"{x}, {y}" for x in "abc" for y in "abc" if x != y}),
        ("{2$$ and $$a|b}", {"a and b", "b and a"}),
        ("{2$$$$a|b}", {"ab", "ba"}),
        ("{1-2$$-$$a|b}", {"a", "b", "a-b", "b-a"}),
        ("{-1$$a|b}", {"", "a", "b"}),
        ("{2-$$+$$a|b}", {"a+b", "b+a"}),
        ("{9$$+$$a|b}", {"a+b", "b+a"}),
        ("{3-1$$a|b}", {"a", "b"}),
        ("{0::a|b}", {"b"}),
        ("{0::a|0::b}", {"b"}),
        ("{1.5::a|.5::b}", {"a", "b"}),
        ("{2$$0::a|1::b|1::c}", {"b, c", "c, b"}),
        ("__color__", {"red", "blue"}),
        ("__thing__", {"a red cat", "a red dog", "a blue cat", "a blue dog"}),
        ("{__color__}", {"red", "blue"}),
        ("{2$$ & $$__color__}", {"red & blue", "blue & red"}),
        ("{__color__|green}", {"red", "blue", "green"}),
        ("__rare__", {"often"}),
        ("[__empty_line__]", {"[]"}),
        ("{[a|b]|c}", {"[a|b]", "c"}),
        ("{[a|b}", {"[a", "b"}),
        ("{a|b]}", {"a", "b]"}),
        ("{a\\|b|c}", {"a\\|b", "c"}),
    ],
)
def test_choices(template: str, expected: set[str]) -> None:
    assert prompts(template) == expected


@pytest.mark.parametrize(
    "text",
    ["a cat", "{red}", "a {b", "b} c", "{a|b", "a|b}", "[a|b]", "a | b", r"\{a|b\}", r"\__color__", "__nobody__",
     "a__b", "__", "____", "{2$$a}", "{1::a}", "{}", "snake_case __init", "\\"],
)  # fmt: skip
def test_text_stays_as_it_is(text: str) -> None:
    assert prompts(text, 3) == {text}


def test_a_single_brace_keeps_what_is_in_it() -> None:
    assert prompts("{x {a|b}}") == {"{x a}", "{x b}"}
    assert prompts("{x {a|b} y") == {"{x a y", "{x b y"}


def test_weights_are_shares() -> None:
    resolver = DynamicPrompts(lambda name: ())
    drawn = [resolver.resolve("{3::a|b}", str(seed)) for seed in range(2000)]
    assert 0.70 < drawn.count("a") / 2000 < 0.80


def test_samples_of_several_are_weighted_too() -> None:
    resolver = DynamicPrompts(lambda name: ())
    drawn = [resolver.resolve("{2$$$$8::a|b|c}", str(seed)) for seed in range(1000)]
    assert sum("a" in text for text in drawn) > 900
    assert sum("b" in text for text in drawn) > 300


def test_the_same_seed_gives_the_same_prompt_for_ever() -> None:
    resolver = DynamicPrompts(lambda name: LINES.get(name, ()))
    template = "{a|b|c|d} {2$$a|b|c|d} {1-4$$a|b|c|d} {0.2::x|y}"
    expected = ["b c, d a y", "c c, a a, c, b, d y", "d c, b d, a y"]
    assert [resolver.resolve(template, seed) for seed in ("1", "2", "prompt 1")] == expected


def test_a_wildcard_is_looked_up_once() -> None:
    asked: list[str] = []
    resolver = DynamicPrompts(lambda name: asked.append(name) or ("a", "b"))  # type: ignore[func-returns-value]
    for seed in range(5):
        resolver.resolve("__x__ __x__", str(seed))
    assert asked == ["x"]


def test_a_wildcard_in_itself_is_refused() -> None:
    with pytest.raises(BadRequest, match="__self__ lies more than 20 wildcards deep"):
        prompts("__self__", 1)


def test_wildcards_that_double_without_end_are_refused() -> None:
    lines = {f"d{number}": (f"__d{number + 1}__ __d{number + 1}__",) for number in range(19)}
    resolver = DynamicPrompts(lambda name: lines.get(name, ("x",)))
    with pytest.raises(BadRequest, match="choices"):
        resolver.resolve("__d0__", "1")


def test_results_longer_than_a_prompt_are_refused() -> None:
    with pytest.raises(BadRequest, match=str(MAX_PROMPT)):
        prompts("__long__ __long__", 1)


@given(st.text(alphabet=st.sampled_from(list("{}[]|_$:\\0123-., ab*/")), max_size=120), st.integers())
def test_any_text_is_resolved(template: str, seed: int) -> None:
    resolver = DynamicPrompts(lambda name: ("x {a|b}", "y") if len(name) % 2 else ())
    assert resolver.resolve(template, str(seed)) == resolver.resolve(template, str(seed))


@pytest.mark.parametrize(
    "unit", ["{", "}", "{}", "{a|", "|", "[", "[}", "_", "__a", "__a__", "\\", "{[", "}{", "$$", "1::"]
)
def test_long_text_is_resolved_whole(unit: str) -> None:
    template = (unit * MAX_PROMPT)[: MAX_PROMPT // 2]
    resolver = DynamicPrompts(lambda name: ())
    assert resolver.resolve(template + "}" * (MAX_PROMPT // 2), "1")
    assert resolver.resolve(template, "1") == template


def test_a_job_of_too_many_choices_is_refused() -> None:
    resolver = DynamicPrompts(lambda name: ())
    with pytest.raises(BadRequest, match="Lower the batch count"):
        for seed in range(1000):
            resolver.resolve("{a|b}" * 9000, str(seed))
