"""What is said about diffusers' pipelines is what they are: their classes, and the names of what they take."""

from __future__ import annotations

import inspect
from pathlib import Path

import diffusers
import pytest

from webui.domain.models import Family, ModelInfo
from webui.domain.pipelines import ALWAYS_LACKING, PIPELINES, PipelineInfo, find_pipeline, lacks
from webui.weights import families


@pytest.mark.parametrize("info", PIPELINES, ids=lambda info: info.name)
def test_they_take_what_is_said(info: PipelineInfo) -> None:
    kind = getattr(diffusers, info.name)
    assert issubclass(kind, diffusers.DiffusionPipeline)
    taken = inspect.signature(kind.__call__).parameters
    reads = {"text": "prompt", "class": "class_labels", "nothing": None}[info.reads]
    assert {"prompt", "class_labels"} & taken.keys() == ({reads} if reads else set())
    assert {info.steps, "generator"} <= taken.keys()
    assert info.guidance in taken if info.guidance else "guidance_scale" not in taken
    assert info.negative == ("negative_prompt" in taken)
    assert info.sized == ({"width", "height"} <= taken.keys())
    needed = [name for name, value in taken.items() if value.default is inspect.Parameter.empty]
    assert set(needed) <= {"self", "args", "kwargs", "prompt", "class_labels"}


def test_names_and_words_are_unique() -> None:
    assert len({info.name for info in PIPELINES}) == len({info.words for info in PIPELINES}) == len(PIPELINES)
    ours = {pipeline for files in families.ALL for pipeline in files.pipelines}
    assert ours.isdisjoint(info.name for info in PIPELINES)
    assert find_pipeline("StableDiffusionPipeline") is None


def test_what_they_lack_is_named() -> None:
    model = ModelInfo(name="m", path=Path("m"), family=Family.OTHER, variant="DiT")
    assert lacks(model) == (
        "prompts besides the names of its classes", "negative prompts", "sizes besides its own", *ALWAYS_LACKING
    )  # fmt: skip
    assert lacks(model.replace(variant="Kandinsky 3")) == ALWAYS_LACKING
    assert lacks(model.replace(family=Family.SD1, variant="")) == ()
