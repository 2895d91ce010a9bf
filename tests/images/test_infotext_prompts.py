"""What the prompt language adds to the infotext, written and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from webui.domain.models import Family
from webui.domain.plan import ImagePlan, ModelRef, Plan
from webui.images.infotext import read, write


def plan(prompt: str, negative: str = "", template: str = "", negative_template: str = "", **changes: Any) -> Plan:
    model = ModelRef(name="m", path=Path("m"), family=Family.SD1, layout="original", sha256="a" * 64)
    image = ImagePlan(index=0, seed=1, prompt=prompt, negative_prompt=negative, template=template,
                      negative_template=negative_template)  # fmt: skip
    facts: dict[str, Any] = {"sampler": "Euler", "schedule": "Automatic", "steps": 5, "guidance": 7.0}
    return Plan(model=model, width=64, height=64, images=(image,), **{**facts, **changes})


@pytest.mark.parametrize("mode", ["No norm", "Ignore", "None"])
def test_an_emphasis_mode_that_matters_is_written_and_read(mode: str) -> None:
    text = write(plan("a (cat:1.3)", emphasis=mode), 0)
    assert f"Emphasis: {mode}" in text
    assert read(text).request.emphasis == mode and read(text).unmapped == ()


def test_an_emphasis_mode_without_brackets_or_the_usual_one_is_not_written() -> None:
    assert "Emphasis" not in write(plan("a cat", emphasis="No norm"), 0)
    assert "Emphasis" not in write(plan("a (cat:1.3)"), 0)
    assert "Emphasis" in write(plan("a cat", "[dog]", emphasis="No norm"), 0)


def test_an_unknown_emphasis_mode_is_told() -> None:
    found = read("a\nSteps: 5, Sampler: Euler, Seed: 1, Emphasis: Loud")
    assert found.request.emphasis is None and "Emphasis: Loud" in found.unmapped[0]


def test_templates_are_written_and_change_nothing_when_read() -> None:
    text = write(plan("a red cat", "blue", "a {red|blue} cat,\nnew: line", "__colors__"), 0)
    found = read(text)
    assert found.fields["Template"] == "a {red|blue} cat,\nnew: line"
    assert found.fields["Negative Template"] == "__colors__"
    assert (found.request.prompt, found.request.negative_prompt) == ("a red cat", "blue")
    assert found.unmapped == ()
