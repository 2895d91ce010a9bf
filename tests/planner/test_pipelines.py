"""What models that diffusers' own pipelines run can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.planner_parts import FakeShelf
from webui.domain.models import Family, ModelDefaults, ModelInfo
from webui.domain.passes import Hires, Refiner
from webui.domain.plan import Plan, TaesdPlan
from webui.domain.request import GenerationRequest
from webui.domain.sampling_options import Variation
from webui.domain.start import FromImage
from webui.errors import BadRequest
from webui.images.infotext import read, write
from webui.planner import plan as resolve
from webui.settings import Settings

KANDINSKY = ModelInfo(
    name="kandinsky", path=Path("/models/kandinsky"), family=Family.OTHER, layout="diffusers", sha256="ab" * 32,
    variant="Kandinsky 3", defaults=ModelDefaults(width=1024, height=1024, steps=25, guidance=3.0),
)  # fmt: skip
DIT = KANDINSKY.replace(name="dit", variant="DiT", defaults=ModelDefaults(width=256, height=256, steps=25))
NOTHING = KANDINSKY.replace(name="ddpm", variant="an unconditional DDPM")


def plan(model: ModelInfo = KANDINSKY, settings: Settings | None = None, **asked: Any) -> Plan:
    resolved = resolve(GenerationRequest(**asked), settings or Settings(), FakeShelf(model), lambda: 1)
    assert isinstance(resolved, Plan)
    return resolved


def ignored(model: ModelInfo = KANDINSKY, **asked: Any) -> list[str]:
    first, *others = plan(model, **asked).notes
    assert "is run by diffusers' own pipeline, without" in first
    return [note.removesuffix(" has no effect: the model is run in its own way.") for note in others]


def test_what_the_model_proposes_is_taken() -> None:
    made = plan(prompt="a cat")
    assert (made.width, made.height, made.steps, made.guidance) == (1024, 1024, 25, 3.0)
    assert made.notes[0].startswith("Kandinsky 3 is run by diffusers' own pipeline, without samplers and schedules, ")
    assert ignored(prompt="a cat") == []


def test_what_has_no_effect_is_said() -> None:
    assert ignored(sampler="Heun", schedule="Karras", clip_skip=2, vae="other", prompt="a (cat:1.2)") == [
        "The sampler Heun", "The schedule Karras", "Clip skip 2", "The VAE other", "The brackets in the prompt"
    ]  # fmt: skip
    assert ignored(DIT, width=512, height=512, negative_prompt="dull", prompt="7") == [
        "The size 512×512", "The negative prompt"
    ]  # fmt: skip
    assert ignored(NOTHING, guidance=5, prompt="a cat") == ["The CFG scale 5.0", "The prompt"]


def test_and_does_not_act() -> None:
    made = plan(DIT, width=512, sampler="Heun", clip_skip=2, vae="other", negative_prompt="dull")
    assert (made.width, made.height, made.sampler, made.clip_skip, made.vae) == (256, 256, "Euler", 1, None)
    assert made.images[0].negative_prompt == ""


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("hires", {"hires": Hires(upscaler="Latent")}),
        ("refiner", {"refiner": Refiner(model="other", switch_at=0.8)}),
        ("start", {"start": FromImage(images=("a" * 64,))}),
        ("tiling", {"tiling": "both"}),
        ("variation", {"variation": Variation(seed=2, strength=0.2)}),
        ("variation", {"variation": Variation(resize_from_width=512)}),
    ],
)
def test_another_kind_of_job_is_refused(field: str, asked: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=r"This model \(Kandinsky 3\) cannot") as caught:
        plan(**asked)
    assert caught.value.field == field


def test_a_refiner_that_never_comes_is_none() -> None:
    assert plan(refiner=Refiner(model="other", switch_at=1.0)).refiner is None


def test_taesd_and_the_vae_of_the_settings_stay_away() -> None:
    made = plan(settings=Settings(vae="other", encode_method="TAESD", decode_method="TAESD", preview_method="TAESD"))
    assert (made.vae, made.taesd, made.preview.method) == (None, TaesdPlan(), "Approx")
    assert len(made.notes) == 1


def test_images_are_made_one_at_a_time() -> None:
    assert [len(batch) for batch in plan(batch_size=3).batches] == [1, 1, 1]


def test_the_infotext_names_what_acted_and_makes_it_again() -> None:
    made = plan(prompt="a cat", seed=5, sampler="Heun", width=512, height=768)
    text = write(made, 0)
    assert "Sampler" not in text and "RNG" not in text
    assert text.startswith("a cat\nSteps: 25, CFG scale: 3, Seed: 5, Size: 512x768, Model hash: abababab")
    shelf = FakeShelf(DIT, {"kandinsky [ababababab]": KANDINSKY})
    again = resolve(read(text).request, Settings(), shelf, lambda: 1)
    assert isinstance(again, Plan)
    assert (again.images, again.steps, again.guidance, again.size) == (made.images, 25, 3.0, (512, 768))
