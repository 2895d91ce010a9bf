"""Whatever stands in an image file, reading it raises nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.images.dialects.interpret import interpret

NAMES = (
    "parameters", "prompt", "workflow", "invokeai_metadata", "sd-metadata", "Dream", "fooocus_scheme", "Software",
    "Source", "Comment", "Description", "XMP", "Make", "Model", "use_stable_diffusion_model",
)  # fmt: skip
KEYS = (
    "prompt", "negative_prompt", "seed", "steps", "model", "loras", "image", "sampler", "scheduler", "extraMetadata",
    "sui_image_params", "positive_prompt", "uc", "cfg_scale", "scale", "width", "height", "size", "use_vae_model",
    "use_stable_diffusion_model", "metadata_scheme", "base_model", "c", "clip_skip", "resources", "lora_alpha",
)  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.sampled_from(["euler", "karras", "{"]), st.just(10**400), st.just("\ud800"),
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(NAMES), JSON.map(json.dumps) | st.text(max_size=50), min_size=1, max_size=4))
def test_any_texts_are_read(texts: dict[str, str]) -> None:
    told = interpret(texts)
    if told is not None:
        told.model_dump_json().encode()


@given(st.sampled_from(NAMES), st.dictionaries(st.sampled_from(KEYS), JSON, max_size=8))
def test_any_json_is_read(name: str, content: dict[str, object]) -> None:
    told = interpret({name: json.dumps(content), "Software": "NovelAI"})
    assert told is not None
    told.model_dump_json().encode()


LONG = 100_000
UNITS = (
    "a", "-", "a-", "{", "[", '"', "\\", '{"a":', "(a", "a+", "(", "a:1)", "-s ", "[a", "\\\"", "<exif:UserComment>",
    " : ", "<rdf:li", "&amp;", "1", "{}", "a, ", "sui_image_params", "extraMetadata", '"positive_prompt"', "Steps: 1, ",
    "Negative prompt:\n", 'aa: "\\", ',
)  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_long_texts_are_read_to_the_end(unit: str) -> None:
    text = (unit * LONG)[:LONG]
    for name in ("parameters", "prompt", "Dream", "XMP", "use_stable_diffusion_model"):
        interpret({name: text})
    interpret({"invokeai_metadata": json.dumps({"positive_prompt": text, "model": text, "loras": text})})
    interpret({"sd-metadata": json.dumps({"image": {"prompt": text}})})
    interpret({"Software": "NovelAI", "Comment": json.dumps({"prompt": text})})


def test_deep_and_long_json_is_refused() -> None:
    for text in ("[" * 200 + "]" * 200, '{"a":' * 5000 + "1" + "}" * 5000, '{"seed": ' + "9" * 5000 + "}"):
        told = interpret({"invokeai_metadata": text})
        assert told is not None and told.fields == {}
    brackets_in_text = json.dumps({"positive_prompt": "[" * 200})
    told = interpret({"invokeai_metadata": brackets_in_text})
    assert told is not None and told.request.prompt == "[" * 200


def test_half_a_character_is_replaced() -> None:
    told = interpret({"invokeai_metadata": '{"positive_prompt": "a\\ud800b \\ud83d\\udc38"}'})
    assert told is not None and told.request.prompt == "a?b 🐸"
