"""Binding by name."""

from __future__ import annotations

import json
import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio
import pytest

from webui.domain.request import MAX_PROMPT, GenerationRequest
from webui.domain.sampling_options import Variation
from webui.ui.form import PARTS, Form, FormError, Problem


@pytest.fixture
def form() -> Form[GenerationRequest]:
    made: Form[GenerationRequest] = Form(GenerationRequest)
    made.bind(seed=gradio.Number(render=False), steps=gradio.Slider(render=False), prompt=gradio.Textbox(render=False))
    return made


def test_a_name_the_request_does_not_have_fails_at_once(form: Form[GenerationRequest]) -> None:
    with pytest.raises(ValueError, match=r"GenerationRequest has no field .'stpes'"):
        form.bind(stpes=gradio.Number(render=False))


def test_a_field_is_bound_once(form: Form[GenerationRequest]) -> None:
    with pytest.raises(ValueError, match=r"Bound twice: .'seed'"):
        form.bind(seed=gradio.Number(render=False))


def test_parts_without_components_come_as_json(form: Form[GenerationRequest]) -> None:
    form.bind(parts=gradio.Textbox(render=False))
    parts = {"variation": {"seed": 5, "strength": 0.5}, "tiling": "x", "hires": None}
    request = form.read({"seed": 1, PARTS: json.dumps(parts)})
    assert request == GenerationRequest(seed=1, variation=Variation(seed=5, strength=0.5), tiling="x")
    assert form.read({PARTS: ""}) == form.read({PARTS: None}) == GenerationRequest()


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ('{"variation": {"strength": 2}}', Problem("variation.strength", "must be at most {limit}", 1)),
        ('{"refiner": {"switch_at": 0.5}}', Problem("refiner.model", "must be chosen")),
        ('{"refinery": {}}', Problem("refinery", "Extra inputs are not permitted")),
        ("[1]", Problem(PARTS, "The page is broken: reload it")),
        ("{", Problem(PARTS, "The page is broken: reload it")),
        ("[" * 100_000, Problem(PARTS, "The page is broken: reload it")),
    ],
)
def test_problems_of_parts_are_named_too(form: Form[GenerationRequest], parts: str, problem: Problem) -> None:
    with pytest.raises(FormError) as caught:
        form.read({PARTS: parts})
    assert caught.value.problems == (problem,)


def test_values_become_a_request_and_blanks_stay_blank(form: Form[GenerationRequest]) -> None:
    assert form.read({"prompt": "a cat", "steps": None, "seed": 0}) == GenerationRequest(prompt="a cat", seed=0)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"steps": 0}, Problem("steps", "must be at least {limit}", 1)),
        ({"steps": 151}, Problem("steps", "must be at most {limit}", 150)),
        ({"steps": 2.5}, Problem("steps", "must be a whole number")),
        ({"width": 100}, Problem("width", "must be a multiple of {limit}", 8)),
        ({"guidance": "x"}, Problem("guidance", "must be a number")),
        ({"guidance": float("nan")}, Problem("guidance", "must be a number")),
        (
            {"prompt": "x" * (MAX_PROMPT + 1)},
            Problem("prompt", "must be at most {limit} characters long", MAX_PROMPT),
        ),
    ],
)
def test_each_problem_names_field_and_limit(
    form: Form[GenerationRequest], values: dict[str, object], problem: Problem
) -> None:
    with pytest.raises(FormError) as caught:
        form.read(values)
    assert caught.value.problems == (problem,)


def test_showing_touches_only_what_has_a_value(form: Form[GenerationRequest]) -> None:
    shown = form.show({"steps": 7, "width": 64})
    assert shown == {form.components["steps"]: 7}
