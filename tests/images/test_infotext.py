"""What is written is read back, and whatever else is read does no harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui import __version__
from webui.domain.models import Family
from webui.domain.passes import GuidanceOptions
from webui.domain.plan import ImagePlan, InfotextPlan, ModelRef, Plan, SamplingPlan
from webui.domain.request import MAX_SEED, GenerationRequest
from webui.domain.sampling import SAMPLERS, SCHEDULES, find_sampler
from webui.domain.sampling_options import SamplingOptions
from webui.images.infotext import NEGATIVE, read, read_parameters, write

SHA256 = "abcdef1234" + "0" * 54


def plan(
    prompt: str = "a cat", negative_prompt: str = "", seed: int = 123, name: str = "pocket", **changes: Any
) -> Plan:
    facts: dict[str, Any] = {
        "model": ModelRef(name=name, path=Path("/m"), family=Family.SD1, layout="diffusers", sha256=SHA256),
        "sampler": "Euler a",
        "schedule": "Automatic",
        "steps": 20,
        "guidance": 7.0,
        "width": 512,
        "height": 768,
        "images": (ImagePlan(index=0, seed=seed, prompt=prompt, negative_prompt=negative_prompt),),
    }
    return Plan(**{**facts, **changes})


def test_the_format_is_exact() -> None:
    text = write(plan("a cat,\non a mat", "bad, ugly", clip_skip=2), 0)
    assert text == (
        "a cat,\non a mat\nNegative prompt: bad, ugly\n"
        "Steps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 123, Size: 512x768, "
        f"Model hash: abcdef1234, Model: pocket, Clip skip: 2, RNG: CPU, Version: easel-{__version__}"
    )


def test_what_is_empty_or_usual_or_unwanted_is_left_out() -> None:
    bare = InfotextPlan(model_hash=False, model_name=False, version=False)
    text = write(plan("", guidance=7.5, infotext=bare, sampling=SamplingPlan(noise_source="GPU")), 0)
    assert text == "Steps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7.5, Seed: 123, Size: 512x768"


def test_each_image_has_its_own_seed() -> None:
    images = tuple(ImagePlan(index=index, seed=40 + index, prompt=str(index), negative_prompt="") for index in range(3))
    text = write(plan(images=images, batch_size=2), 2)
    assert text.startswith("2\nSteps: 20") and "Seed: 42" in text


def is_kept(prompt: str) -> bool:
    """Tell whether the format can hold this prompt: its lines may not start like a negative prompt's."""
    return not any(line.lstrip().startswith(NEGATIVE) for line in plain_lines(prompt).split("\n"))


def plain_lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


words = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=60),
    st.lists(
        st.sampled_from(["Steps: 20, ", "Negative prompt: ", "\n", "a cat", '"', "\\", "{", ", Seed: 1", " ", "\r"])
    ).map("".join),
)


@given(
    prompt=words.filter(is_kept),
    negative_prompt=words,
    name=words.map(str.strip).filter(bool),
    seed=st.integers(0, MAX_SEED),
    steps=st.integers(1, 150),
    guidance=st.floats(0, 100),
    width=st.integers(8, 512).map(lambda eighth: eighth * 8),
    sampler=st.sampled_from([info.name for info in SAMPLERS]),
    schedule=st.sampled_from([info.label for info in SCHEDULES]),
    clip_skip=st.integers(1, 12),
)
def test_what_is_written_is_read_back(prompt: str, negative_prompt: str, name: str, seed: int, **changes: Any) -> None:
    found = read(write(plan(prompt, negative_prompt, seed, name, **changes), 0))
    assert found.unmapped == ()
    assert found.request == GenerationRequest(
        prompt=plain_lines(prompt),
        negative_prompt=plain_lines(negative_prompt),
        model=f"{name} [abcdef1234]",
        sampler=changes["sampler"],
        schedule=changes["schedule"],
        steps=changes["steps"],
        guidance=changes["guidance"],
        width=changes["width"],
        height=768,
        seed=seed,
        clip_skip=changes["clip_skip"],
        emphasis="Original",
        vae="None",
        modules=(),
        sampling=SamplingOptions(
            **{**dict(SamplingPlan()), "eta": find_sampler(changes["sampler"]).default_eta, "noise_source": "CPU"}
        ),
        guiding=GuidanceOptions(minimum=0),
    )


@pytest.mark.parametrize(
    "name",
    ['"quoted"', '"', " edges ", "a, b", "a: b", "a\nb", "a\rb", '\\"', "{1}", '["x", 2]', "[x] y", "猫", "a\u2028b"],
)
def test_any_model_name_is_read_back(name: str) -> None:
    found = read(write(plan(name=name), 0))
    assert (found.fields["Model"], found.request.model) == (name, f"{name} [abcdef1234]")
    assert found.fields["Version"] == f"easel-{__version__}"


A1111_2022 = """masterpiece, (best quality:1.2)
Negative prompt: lowres
Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 11, Seed: 1328560109, Size: 512x704, Model hash: 7460a6fa, \
Batch size: 4, Batch pos: 1, Denoising strength: 0.7, Clip skip: 2"""

A1111_1_6 = """cat <lora:style:0.8>
Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 5, Size: 640x512, Model hash: 6ce0161689, \
Model: v1-5-pruned-emaonly, VAE hash: 735e4c3a44, Hires upscale: 2, Lora hashes: "style: aabbcc, other: ddee", \
Hashes: {"vae": "735e4c3a44", "model": "6ce0161689"}, Version: v1.6.0"""

FORGE = """a dog
Steps: 25, Sampler: Euler, Schedule type: Karras, CFG scale: 1, Distilled CFG Scale: 3.5, Seed: 9, Size: 896x1152, \
Model hash: 0123456789, Model: dog, Version: f2.0.1v1.10.1-previous-519-g44eb4ea8, Module 1: ae, Module 2: clip_l"""


def test_a_text_of_2022() -> None:
    found = read(A1111_2022)
    assert found.request == GenerationRequest(
        prompt="masterpiece, (best quality:1.2)",
        negative_prompt="lowres",
        sampler="DPM++ 2M",
        schedule="Karras",
        steps=28,
        guidance=11,
        seed=1328560109,
        width=512,
        height=704,
        clip_skip=2,
    )
    assert found.unmapped == ("Model hash: 7460a6fa (not the beginning of a SHA-256)",)
    assert found.start == {"strength": 0.7}


def test_a_text_of_1_6() -> None:
    found = read(A1111_1_6)
    assert found.request.model == "v1-5-pruned-emaonly [6ce0161689]"
    assert (found.request.sampler, found.request.schedule) == ("Euler a", "Automatic")
    assert found.fields["Lora hashes"] == "style: aabbcc, other: ddee"
    assert found.fields["Hashes"] == '{"vae": "735e4c3a44", "model": "6ce0161689"}'
    assert found.fields["Version"] == "v1.6.0"


def test_a_text_of_forge() -> None:
    found = read(FORGE)
    assert (found.request.sampler, found.request.schedule, found.request.guidance) == ("Euler", "Karras", 1)
    assert found.request.distilled_guidance == 3.5
    assert found.request.modules == ("ae", "clip_l") and not found.unmapped


def test_a_prompt_alone() -> None:
    assert read("a cat, Steps: 3\n") == read("a cat, Steps: 3")
    assert read("a cat, Steps: 3").request == GenerationRequest(prompt="a cat, Steps: 3")
    assert read("").request == GenerationRequest()
    assert read("a\r\nNegative prompt: b\r\nc").request == GenerationRequest(prompt="a", negative_prompt="b\nc")


@pytest.mark.parametrize(
    ("parameter", "reason"),
    [
        ("Steps: 1e999", "not a whole number"),
        ("Steps: 0", "Input should be greater than or equal to 1"),
        ("Steps: ２０", "not a whole number"),
        (f"Steps: {'9' * 5000}", "not a whole number"),
        ("Size: -1x-1", "not a size such as 512x768"),
        ("Size: 512", "not a size such as 512x768"),
        ("Size: 512x511", "Input should be a multiple of 8"),
        ("Seed: nan", "not a whole number"),
        ("Seed: 9007199254740992", "Input should be less than or equal to 9007199254740991"),
        ("CFG scale: inf", "not a number"),
        ("CFG scale: 1e999", "not a finite number"),
        ("CFG scale: -7", "Input should be greater than or equal to 0"),
        ("CFG scale: 1_0", "not a number"),
        ("Sampler: __import__('os')", "no such sampler here"),
        ("Schedule type: None", "no such schedule here"),
        ("Clip skip: 99", "Input should be less than or equal to 12"),
    ],
)
def test_impossible_values_are_told_and_not_asked_for(parameter: str, reason: str) -> None:
    found = read(f"a cat\n{parameter}, Version: v1, Model hash: 0123456789")
    assert found.request == GenerationRequest(prompt="a cat", model="0123456789", schedule=found.request.schedule)
    assert len(found.unmapped) == 1
    assert found.unmapped[0].startswith(parameter[:100]) and found.unmapped[0].endswith(f"({reason})")


def test_a_prompt_that_is_too_long_is_told() -> None:
    found = read("a" * 60_000)
    assert found.request.prompt == ""
    assert found.unmapped == (f"Prompt: {'a' * 100}… (String should have at most 50000 characters)",)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('Model: "a, b: \\"c\\"", Steps: 1', {"Model": 'a, b: "c"', "Steps": "1"}),
        ('Model: "a, Steps: 1', {"Model": '"a', "Steps": "1"}),
        ('Model: "a" b, Steps: 1', {"Model": '"a" b', "Steps": "1"}),
        ("List: [1, 2], Steps: 1", {"List": "[1, 2]", "Steps": "1"}),
        ("Open: {1, 2, Steps: 1", {"Open": "{1", "Steps": "1"}),
        ("Steps: 1, Steps: 2", {"Steps": "2"}),
        ("Mask blur: 4, Lora/x-1: 5", {"Mask blur": "4", "Lora/x-1": "5"}),
        ("Steps:, Seed:", {"Steps": "", "Seed": ""}),
        ("a: 1, : 2, ::", {}),
    ],
)
def test_parameter_lines(line: str, expected: dict[str, str]) -> None:
    assert read_parameters(line) == expected


@given(st.text(st.characters()) | st.text(st.sampled_from(list('aA1 :,"\\{}[]-/\n')), max_size=300))
def test_any_text_is_read(text: str) -> None:
    found = read(text)
    assert found == read(text.rstrip())


@given(st.lists(st.text(max_size=30), max_size=6), st.sampled_from(["Steps", "Size", "Seed", "CFG scale", "Sampler"]))
def test_any_value_is_read_or_told(values: list[str], key: str) -> None:
    read("x\n" + ", ".join(f"{key}{index or ''}: {value}" for index, value in enumerate(values)) + ", aa: 1, bb: 2")


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a:",
        'aa: "x, ',
        'aa: "\\", ',
        'aa: ["\\", ',
        "aa: [",
        "[",
        '"',
        ": ",
        "\n",
        "aa: 1,",
        " ",
        "-",
        "Negative prompt:\n",
    ],
)
def test_long_text_is_read_whole(unit: str) -> None:
    read((unit * 100_000)[:100_000])
    read("aa: 1, bb: 2, cc: " + (unit * 100_000)[:100_000])
