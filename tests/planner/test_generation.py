"""The planner fills blanks in the order: asked, the model's proposal, the product's default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.planner_parts import FakeShelf
from webui import planner
from webui.domain.models import Family, ModelDefaults, ModelInfo
from webui.domain.plan import Plan
from webui.domain.request import MAX_SEED, GenerationRequest
from webui.errors import BadFile, BadRequest, NotFound
from webui.prompt.styles import Style
from webui.settings import Settings


def model(**changes: Any) -> ModelInfo:
    facts: dict[str, Any] = {
        "name": "pocket",
        "path": Path("/models/pocket"),
        "family": Family.SD1,
        "layout": "diffusers",
        "sha256": "ab" * 32,
        "defaults": ModelDefaults(width=128, height=128, guidance=5.0),
    }
    return ModelInfo(**{**facts, **changes})


def plan(request: GenerationRequest, **changes: Any) -> Plan:
    return planner.plan_generation(request, Settings(), FakeShelf(model(**changes)), lambda: 1234)


def test_blanks_are_filled_from_the_model_then_the_product() -> None:
    resolved = plan(GenerationRequest(prompt="a cat", steps=7))
    assert (resolved.steps, resolved.guidance) == (7, 5.0)
    assert (resolved.width, resolved.height) == (128, 128)
    assert (resolved.sampler, resolved.schedule) == ("DPM++ 2M", "Automatic")


@pytest.mark.parametrize(("family", "side"), [(Family.SD1, 512), (Family.SDXL, 1024)])
def test_a_model_that_proposes_no_size_gets_that_of_its_family(family: Family, side: int) -> None:
    resolved = plan(GenerationRequest(), family=family, defaults=ModelDefaults())
    assert (resolved.width, resolved.height) == (side, side)
    resolved = plan(GenerationRequest(height=256), family=family, defaults=ModelDefaults())
    assert (resolved.width, resolved.height) == (side, 256)


def test_clip_skip_without_effect_is_noted() -> None:
    assert [note.split(" has")[0] for note in plan(GenerationRequest(clip_skip=2), family=Family.SDXL).notes] == [
        "Clip skip 2"
    ]
    assert plan(GenerationRequest(clip_skip=1), family=Family.SDXL).notes == ()
    assert plan(GenerationRequest(clip_skip=2)).notes == ()


def test_what_was_asked_wins_over_the_proposal() -> None:
    resolved = plan(GenerationRequest(width=256, guidance=1.0))
    assert (resolved.width, resolved.height, resolved.guidance) == (256, 128, 1.0)


def test_guidance_zero_is_an_answer_not_a_blank() -> None:
    assert plan(GenerationRequest(guidance=0)).guidance == 0


def test_image_k_has_seed_plus_k() -> None:
    resolved = plan(GenerationRequest(seed=10, batch_size=2, batch_count=3))
    assert [image.seed for image in resolved.images] == [10, 11, 12, 13, 14, 15]
    assert [len(batch) for batch in resolved.batches] == [2, 2, 2]


def test_a_random_seed_is_drawn_once() -> None:
    assert [image.seed for image in plan(GenerationRequest(batch_count=2)).images] == [1234, 1235]


def test_seeds_wrap_at_the_largest_one() -> None:
    assert [image.seed for image in plan(GenerationRequest(seed=MAX_SEED, batch_size=2)).images] == [MAX_SEED, 0]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"sampler": "DPM++ 2M Karras"}, ("DPM++ 2M", "Karras")),
        ({"sampler": "euler A"}, ("Euler a", "Automatic")),
        ({"sampler": "k_heun", "schedule": "karras"}, ("Heun", "Karras")),
    ],
)
def test_old_and_odd_names_are_understood(asked: dict[str, str], expected: tuple[str, str]) -> None:
    resolved = plan(GenerationRequest(**asked))
    assert (resolved.sampler, resolved.schedule) == expected


@pytest.mark.parametrize("asked", [{"sampler": "Magic"}, {"schedule": "Sideways"}])
def test_unknown_names_are_refused_with_the_known_ones(asked: dict[str, str]) -> None:
    with pytest.raises(NotFound, match="Use one of") as caught:
        plan(GenerationRequest(**asked))
    assert caught.value.field in asked


def test_too_many_images_are_refused() -> None:
    with pytest.raises(BadRequest, match="1024 images"):
        plan(GenerationRequest(batch_size=64, batch_count=16))


def test_too_large_a_batch_is_refused() -> None:
    with pytest.raises(BadRequest, match="batch of 64"):
        plan(GenerationRequest(width=4096, height=4096, batch_size=64))


def test_an_unidentified_model_is_refused_with_its_problem() -> None:
    with pytest.raises(BadFile, match="truncated"):
        plan(GenerationRequest(), family=None, problem="the file is truncated")


def test_the_same_request_gives_the_same_plan() -> None:
    request = GenerationRequest(prompt="a", seed=5)
    assert plan(request) == plan(request)


STYLES = {
    "film": Style(name="film", prompt="film of {prompt}, grain", negative_prompt="digital"),
    "ink": Style(name="ink", prompt="ink"),
}
LINES = {"color": ("red", "blue", "green", "white")}


def plan_words(request: GenerationRequest, settings: Settings | None = None) -> Plan:
    words = planner.Words(STYLES, lambda name: LINES.get(name, ()))
    return planner.plan_generation(request, settings or Settings(), FakeShelf(model()), lambda: 1234, words)


def test_styles_are_applied_in_order() -> None:
    (image,) = plan_words(GenerationRequest(prompt="a cat", negative_prompt="dog", styles=("film", "ink"))).images
    assert image.prompt == "film of a cat, grain, ink"
    assert image.negative_prompt == "dog, digital"
    assert image.template == image.negative_template == ""


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(NotFound, match="no style 'noir'") as caught:
        plan_words(GenerationRequest(styles=("noir",)))
    assert caught.value.field == "styles"


def test_each_image_has_its_own_prompt_and_the_template_is_kept() -> None:
    request = GenerationRequest(prompt="a __color__ {cat|dog}", negative_prompt="{x|y}", seed=1, batch_count=80)
    images = plan_words(request).images
    assert {image.prompt for image in images} == {f"a {c} {a}" for c in LINES["color"] for a in ("cat", "dog")}
    assert {image.template for image in images} == {"a __color__ {cat|dog}"}
    assert {image.negative_prompt for image in images} == {"x", "y"}
    assert {image.negative_template for image in images} == {"{x|y}"}


def test_the_prompt_of_an_image_depends_on_its_seed_alone() -> None:
    request = GenerationRequest(prompt="a __color__ {cat|dog} {1-2$$x|y|z}", seed=10, batch_count=8)
    images = plan_words(request).images
    for image in images:
        (alone,) = plan_words(request.replace(seed=image.seed, batch_count=1)).images
        assert alone.prompt == image.prompt


def test_dynamic_prompts_and_comments_can_be_switched_off() -> None:
    request = GenerationRequest(prompt="a {cat|dog} # note")
    (image,) = plan_words(request, Settings(dynamic_prompts=False, prompt_comments=False)).images
    assert image.prompt == "a {cat|dog} # note"
    (image,) = plan_words(request).images
    assert image.prompt in ("a cat \n", "a dog \n")


def test_emphasis_is_asked_for_or_a_setting() -> None:
    assert plan_words(GenerationRequest()).emphasis == "Original"
    assert plan_words(GenerationRequest(), Settings(emphasis="Ignore")).emphasis == "Ignore"
    assert plan_words(GenerationRequest(emphasis="None"), Settings(emphasis="Ignore")).emphasis == "None"
    assert plan_words(GenerationRequest(), Settings(comma_backtrack=0)).comma_backtrack == 0


def test_too_many_branches_are_refused() -> None:
    assert plan_words(GenerationRequest(prompt=" AND ".join("a" * 64))).images
    with pytest.raises(BadRequest, match="joins 65 prompts"):
        plan_words(GenerationRequest(prompt=" AND ".join("a" * 65)))


def test_tags_without_effect_are_noted() -> None:
    resolved = plan_words(GenerationRequest(prompt="a <lora:x:1> <lora:y:1> <hypernet:z:1> cat"))
    assert [note.split(":")[0] for note in resolved.notes] == ["Tags <hypernet", "Tags <lora"]
    assert "<lora:x:1>" in resolved.images[0].prompt
    assert plan_words(GenerationRequest(prompt="a cat", negative_prompt="<lora:x:1>")).notes == ()


@given(
    st.text(alphabet=st.sampled_from(list("()[]{}<>|:_$\\#*0123., abAND\nlora")), max_size=120),
    st.integers(0, MAX_SEED),
)
def test_any_prompt_is_planned_or_refused_in_words(prompt: str, seed: int) -> None:
    try:
        resolved = plan_words(GenerationRequest(prompt=prompt, negative_prompt=prompt, seed=seed))
    except BadRequest as error:
        assert error.field == "prompt"
    else:
        assert resolved == plan_words(GenerationRequest(prompt=prompt, negative_prompt=prompt, seed=seed))


def test_a_long_prompt_that_changes_in_every_step_is_refused() -> None:
    tale = "a long tale, " * 3600
    changing = " ".join(f"[a:b:{step}]" for step in range(1, 100)) + tale
    with pytest.raises(BadRequest, match="too much to encode") as caught:
        plan(GenerationRequest(prompt=changing, steps=150, sampler="Heun"))
    assert caught.value.field == "prompt"
    assert plan(GenerationRequest(prompt="[a|b] " + tale, steps=150)).steps == 150
    assert plan(GenerationRequest(prompt="[a:b:0.5] " + tale, steps=150)).steps == 150
