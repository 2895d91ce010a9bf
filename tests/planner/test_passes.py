"""The second pass, the second model, VAE and guidance: what blanks mean and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.planner_parts import FakeShelf
from webui import planner
from webui.domain.models import Family, ModelInfo
from webui.domain.passes import GuidanceOptions, Hires, Refiner
from webui.domain.plan import GuidancePlan, Plan
from webui.domain.request import GenerationRequest
from webui.domain.start import FromMaskedImage
from webui.domain.upscaling import UpscalerRef
from webui.errors import BadRequest, NotFound
from webui.settings import Settings


def model(name: str) -> ModelInfo:
    return ModelInfo(
        name=name,
        path=Path(f"/{name}"),
        family=Family.SD1,
        layout="diffusers",
        sha256=name.encode().hex().ljust(64, "0"),
    )


SHELF = FakeShelf(model("one"), {"two": model("two")})


def plan(settings: dict[str, Any] | None = None, **asked: Any) -> Plan:
    return planner.plan_generation(GenerationRequest(**asked), Settings(**(settings or {})), SHELF, lambda: 1)


def test_the_second_pass_is_like_the_first_where_nothing_is_said() -> None:
    hires = plan(sampler="Euler a", schedule="Karras", steps=12, guidance=6, hires=Hires()).hires
    assert hires is not None
    assert (hires.sampler, hires.schedule, hires.steps, hires.guidance) == ("Euler a", "Karras", 12, 6)
    assert hires.model is None and hires.scale == 2
    assert hires.upscaler == UpscalerRef(name="Latent", kind="latent")
    assert hires.sampling.eta == 1.0


def test_the_second_pass_can_be_all_its_own() -> None:
    asked = Hires(
        upscaler="net", steps=7, sampler="DPM++ 2M Karras", guidance=0, model="two", prompt="sharp {a|a}", width=640
    )
    resolved = plan(prompt="soft", sampler="Euler a", hires=asked)
    hires = resolved.hires
    assert hires is not None and hires.model is not None
    assert (hires.sampler, hires.schedule, hires.steps, hires.guidance) == ("DPM++ 2M", "Karras", 7, 0)
    assert (hires.model.name, hires.upscaler.kind, hires.scale) == ("two", "network", None)
    assert resolved.images[0].hires_prompt == "sharp a"
    assert resolved.images[0].hires_negative_prompt is None
    assert hires.sampling.eta is None


def test_its_schedule_is_as_long_as_its_strength_needs() -> None:
    hires = plan(hires=Hires(steps=10, strength=0.5)).hires
    assert hires is not None and hires.schedule_steps == 20
    assert plan(steps=20, hires=Hires(steps=10)).total_steps == 30


def test_it_does_not_follow_a_mask() -> None:
    start = FromMaskedImage(images=("1" * 64,), mask="2" * 64)
    with pytest.raises(BadRequest, match="not a mask"):
        plan(start=start, hires=Hires())


def test_the_refiner_takes_over() -> None:
    refiner = plan(refiner=Refiner(model="two", switch_at=0.6)).refiner
    assert refiner is not None and (refiner.model.name, refiner.switch_at) == ("two", 0.6)


@pytest.mark.parametrize("asked", [Refiner(model="one"), Refiner(model="two", switch_at=1)])
def test_a_refiner_that_would_change_nothing_is_none(asked: Refiner) -> None:
    assert plan(refiner=asked).refiner is None


@pytest.mark.parametrize("asked", [{"refiner": Refiner(model="three")}, {"hires": Hires(model="three")}])
def test_an_unknown_second_model_is_named(asked: dict[str, Any]) -> None:
    with pytest.raises(NotFound, match="three"):
        plan(**asked)


def test_the_vae_is_the_requests_then_the_settings() -> None:
    assert plan().vae is None
    by_settings = plan({"vae": "soft"}).vae
    assert by_settings is not None and (by_settings.name, by_settings.short_hash) == ("soft.safetensors", "cd" * 5)
    by_request = plan({"vae": "soft"}, vae="sharp").vae
    assert by_request is not None and by_request.name == "sharp.safetensors"
    assert plan({"vae": "soft"}, vae="None").vae is None


def test_guidance_takes_its_minimum_from_the_settings() -> None:
    assert plan({"guidance_minimum": 3.0}).guiding == GuidancePlan(minimum=3.0)
    assert plan({"guidance_minimum": 3.0}, guiding=GuidanceOptions(minimum=0)).guiding.minimum == 0


def test_models_that_edit_are_guided_by_the_picture() -> None:
    shelf = FakeShelf(model("editor").replace(variant="editing"))

    def image_guidance(**asked: Any) -> float | None:
        return planner.plan_generation(GenerationRequest(**asked), Settings(), shelf, lambda: 1).guiding.image

    assert image_guidance() == 1.5
    assert image_guidance(guiding=GuidanceOptions(image=1)) == 1
    told = plan(guiding=GuidanceOptions(image=2))
    assert told.guiding.image is None and "does not edit pictures" in told.notes[0]


def test_a_refiner_draws_in_the_same_latents() -> None:
    def refined(first: Family, second: Family) -> Family:
        shelf = FakeShelf(model("one").replace(family=first), {"two": model("two").replace(family=second)})
        asked = GenerationRequest(refiner=Refiner(model="two", switch_at=0.8))
        refiner = planner.plan_generation(asked, Settings(), shelf, lambda: 1).refiner
        assert refiner is not None
        return refiner.model.family

    assert refined(Family.SDXL, Family.SDXL_REFINER) is Family.SDXL_REFINER
    assert refined(Family.SD1, Family.SD2) is Family.SD2
    for first in (Family.SD1, Family.PLAYGROUND):
        with pytest.raises(BadRequest, match="mean different things"):
            refined(first, Family.SDXL_REFINER)


def test_guidance_cannot_end_before_it_begins() -> None:
    with pytest.raises(BadRequest, match="cannot end"):
        plan(guiding=GuidanceOptions(start=0.6, end=0.5))


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"hires": Hires(upscaler="no such")}, "hires.upscaler"),
        ({"hires": Hires(model="no such")}, "hires.model"),
        ({"refiner": Refiner(model="no such")}, "refiner.model"),
    ],
)
def test_a_name_nobody_knows_is_said_with_its_field(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(NotFound, match="no such") as caught:
        plan(**asked)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("first", "second", "fits"),
    [
        (Family.SDXL, Family.PIXART_SIGMA, True),
        (Family.SDXL, Family.AURAFLOW, False),  # the same latents, but noise is mixed in
        (Family.SD1, Family.PIXART_SIGMA, False),
        (Family.LUMINA2, Family.FLUX, True),
    ],
)
def test_models_go_on_with_each_others_latents(first: Family, second: Family, fits: bool) -> None:
    shelf = FakeShelf(model("one").replace(family=first), {"two": model("two").replace(family=second)})
    asked = GenerationRequest(hires=Hires(model="two"), sampler="Euler", schedule="Simple")
    if fits:
        assert planner.plan_generation(asked, Settings(), shelf, lambda: 1).hires is not None
        return
    with pytest.raises(BadRequest, match="mean different things"):
        planner.plan_generation(asked, Settings(), shelf, lambda: 1)
