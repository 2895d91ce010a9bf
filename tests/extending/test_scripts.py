"""What every script gets for free: its page, checked options, checked results, and arguments by position."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import pytest
from pydantic import Field

from tests.extensions.parts import make_tools
from webui.domain.passes import ScriptCall
from webui.domain.plan import SheetPlan
from webui.domain.request import MAX_IMAGES, GenerationRequest
from webui.domain.start import FromImage
from webui.errors import BadRequest, GenerationError, NotFound
from webui.extending.api import Data, Expansion, Script, Tools
from webui.extending.scripts import (
    AnyScript,
    NameKind,
    expand_request,
    find_script,
    options_from_args,
    options_schema,
)


class Options(Data):
    times: Annotated[int, Field(ge=0)] = 2
    mode: Literal["up", "down"] = "up"
    upscaler: Annotated[str, Field(json_schema_extra={"names": "upscaler"})] = "Lanczos"
    words: Annotated[
        str, Field(json_schema_extra={"suggestions_for": "mode", "suggestions": {"up": "style", "down": ("a", "b")}})
    ] = ""


def repeat(request: GenerationRequest, options: Options, tools: Tools) -> Expansion:
    return Expansion(requests=(request.replace(seed=tools.draw_seed()),) * options.times)


def names(kind: NameKind) -> tuple[str, ...]:
    return (f"a {kind}", f"another {kind}")


TOOLS = replace(make_tools(), draw_seed=lambda: 7, names=names, picture_size=lambda reference: (64, 64))
REPEAT: AnyScript = Script("Repeat it", Options, repeat, aliases=("repeat",))


def ask(**options: object) -> GenerationRequest:
    return GenerationRequest(prompt="a house", script=ScriptCall(name="repeat", options=options))


def broken(error: Exception) -> AnyScript:
    def expand(request: GenerationRequest, options: Options, tools: Tools) -> Expansion:
        raise error

    return Script("Broken", Options, expand)


def test_a_script_is_found_by_its_name_and_aliases_in_any_case() -> None:
    assert find_script("rePEAT it", [REPEAT]) is find_script(" Repeat ", [REPEAT]) is REPEAT
    with pytest.raises(NotFound) as caught:
        find_script("xyz", [REPEAT])
    assert "Repeat it" in caught.value.hint


def test_the_requests_of_an_expansion_name_no_script() -> None:
    expansion = expand_request(ask(times=3), REPEAT, TOOLS)
    assert [(made.prompt, made.seed, made.script) for made in expansion.requests] == [("a house", 7, None)] * 3


@pytest.mark.parametrize(("options", "words"), [({"times": "many"}, "times"), ({"tims": 2}, "tims")])
def test_options_that_cannot_be_are_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        expand_request(ask(**options), REPEAT, TOOLS)
    assert "times, mode" in caught.value.hint


def test_a_script_for_pictures_refuses_noise_and_the_other_way_round() -> None:
    picture = GenerationRequest(start=FromImage(images=("0" * 64,)))
    with pytest.raises(BadRequest, match="use img2img"):
        expand_request(ask(), Script("S", Options, repeat, pages=("img2img",)), TOOLS)
    with pytest.raises(BadRequest, match="use txt2img"):
        expand_request(picture, Script("S", Options, repeat, pages=("txt2img",)), TOOLS)


def test_a_script_that_asks_for_nothing_or_for_too_much_is_refused() -> None:
    with pytest.raises(BadRequest, match="no image"):
        expand_request(ask(times=0), REPEAT, TOOLS)
    with pytest.raises(BadRequest, match=str(MAX_IMAGES + 1)):
        expand_request(ask(times=MAX_IMAGES + 1), REPEAT, TOOLS)


def test_what_a_script_refuses_comes_through_and_its_bugs_are_told_from_it() -> None:
    with pytest.raises(BadRequest, match="not so"):
        expand_request(ask(), broken(BadRequest("not so")), TOOLS)
    with pytest.raises(GenerationError, match="'Broken' failed: ZeroDivisionError"):
        expand_request(ask(), broken(ZeroDivisionError("division by zero")), TOOLS)


def test_a_value_that_no_request_can_have_is_the_callers_mistake() -> None:
    def expand(request: GenerationRequest, options: Options, tools: Tools) -> Expansion:
        return Expansion(requests=(request.replace(steps=5000),))

    with pytest.raises(BadRequest, match=r"steps: .*5000"):
        expand_request(ask(), Script("S", Options, expand), TOOLS)


@pytest.mark.parametrize(
    "expansion",
    [
        Expansion(requests=(GenerationRequest(),), sheets=(SheetPlan(columns=1, cells=(1,)),)),
        Expansion(requests=(ask(),)),
        Expansion(requests=(GenerationRequest(),), settings=({}, {})),
    ],
)
def test_an_expansion_that_cannot_be_carried_out_is_the_scripts_bug(expansion: Expansion) -> None:
    with pytest.raises(GenerationError):
        expand_request(ask(), Script("S", Options, lambda request, options, tools: expansion), TOOLS)


@pytest.mark.parametrize(
    ("args", "options"),
    [
        ([], {}),
        ([3], {"times": 3}),
        (["3", None, "None"], {"times": "3", "upscaler": "None"}),
        ([None, "down"], {"mode": "down"}),
    ],
)
def test_arguments_by_position_become_options_by_name(args: list[object], options: dict[str, object]) -> None:
    call = options_from_args(REPEAT, args)
    assert call == ScriptCall(name="Repeat it", options=options)
    expand_request(GenerationRequest(script=call), REPEAT, TOOLS)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["x"], r"script_args\[0\] of Repeat it: times"),
        ([1, "left"], r"script_args\[1\] of Repeat it: mode"),
        ([1, "up", "", "", 5], "takes 4 arguments, not 5"),
    ],
)
def test_an_argument_that_cannot_be_is_named_with_its_position(args: list[object], words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        options_from_args(REPEAT, args)
    assert caught.value.field == "script_args"
    assert caught.value.hint


def test_the_schema_lists_the_names_there_are() -> None:
    fields = options_schema(Options, names)["properties"]
    assert fields["upscaler"]["choices"] == ["a upscaler", "another upscaler"]
    assert "names" not in fields["upscaler"]
    assert fields["words"]["suggestions"] == {"up": ["a style", "another style"], "down": ["a", "b"]}
    assert fields["times"]["default"] == 2
