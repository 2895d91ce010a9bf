"""Fields that were not sent: what `infotext` and the arguments of A1111's own scripts say of them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from tests.api.site import Site, open_site
from webui.domain.plan import Plan
from webui.domain.start import FromMaskedImage

TEXT = """a dog, (running:1.2)
Negative prompt: blur
Steps: 5, Sampler: DPM++ 2M, Schedule type: Exponential, CFG scale: 4.5, Seed: 77, Size: 72x96, \
Model hash: 0123456789, Model: gone, Variation seed: 9, Variation seed strength: 0.25, Denoising strength: 0.45, \
Clip skip: 2, ENSD: 31337, RNG: NV, Hires upscale: 1.5, Hires steps: 3, Hires upscaler: Lanczos, NGMS: 0.5, \
Version: v1.10.1"""


TINY = {"sd_model_checkpoint": "tiny"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("site"), models=("tiny", "zoom")) as opened:
        yield opened


def generate(site: Site, route: str = "txt2img", **fields: Any) -> tuple[Plan, dict[str, Any]]:
    answer = site.client.post(f"/sdapi/v1/{route}", json=fields)
    assert answer.status_code == 200, answer.text
    plan = site.studio.jobs(1)[0].plan
    assert isinstance(plan, Plan)
    return plan, answer.json()


def encoded(colour: str = "red") -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_a_text_fills_all_fields(site: Site) -> None:
    plan, answer = generate(site, infotext=TEXT, override_settings=TINY)
    assert (plan.images[0].prompt, plan.images[0].negative_prompt) == ("a dog, (running:1.2)", "blur")
    assert (plan.steps, plan.sampler, plan.schedule, plan.guidance) == (5, "DPM++ 2M", "Exponential", 4.5)
    assert (plan.width, plan.height, plan.clip_skip) == (72, 96, 2)
    assert (plan.images[0].seed, plan.images[0].variation_seed, plan.variation.strength) == (77, 9, 0.25)
    assert (plan.sampling.noise_source, plan.sampling.seed_delta, plan.guiding.minimum) == ("NV", 31337, 0.5)
    assert plan.hires is not None
    assert (plan.hires.scale, plan.hires.steps, plan.hires.strength) == (1.5, 3, 0.45)
    assert plan.hires.upscaler.name == "Lanczos"
    assert plan.model.name == "tiny"  # as in A1111: a text does not change the model
    assert site.studio.settings().clip_skip == 1
    assert answer["parameters"]["steps"] == 5 and answer["parameters"]["enable_hr"] is True


def test_what_was_sent_counts(site: Site) -> None:
    plan, _ = generate(
        site, infotext=TEXT, prompt="a cat", steps=2, seed=-1, enable_hr=False,
        override_settings={"CLIP_stop_at_last_layers": 3, "randn_source": "CPU"},
    )  # fmt: skip
    assert (plan.images[0].prompt, plan.images[0].negative_prompt) == ("a cat", "blur")
    assert (plan.steps, plan.guidance, plan.hires, plan.clip_skip) == (2, 4.5, None, 3)
    assert plan.images[0].seed != 77
    assert (plan.sampling.noise_source, plan.sampling.seed_delta) == ("CPU", 31337)


ROUND_TRIPS: tuple[dict[str, Any], ...] = (
    {"sampler_name": "Euler a", "eta": 0.5, "scheduler": "Beta"},
    {"sampler_name": "Euler", "s_churn": 3, "s_noise": 1.01, "s_tmin": 0.1, "s_tmax": 5},
    {"tiling": True, "s_min_uncond": 0.5, "subseed": 3, "subseed_strength": 0.5},
    {"seed_resize_from_w": 128, "seed_resize_from_h": 96, "negative_prompt": "a, b: c\nd"},
    {"refiner_checkpoint": "zoom", "refiner_switch_at": 0.6},
    {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Nearest", "denoising_strength": 0.3},
    {
        "enable_hr": True, "hr_resize_x": 128, "hr_resize_y": 96, "hr_second_pass_steps": 2, "hr_cfg": 3,
        "hr_sampler_name": "Heun", "hr_scheduler": "Karras", "hr_checkpoint_name": "zoom", "hr_prompt": "a dog, b",
        "hr_negative_prompt": "x: y",
    },
    {
        "prompt": "(a) cat", "sampler_name": "Euler a",
        "override_settings": {**TINY, "CLIP_stop_at_last_layers": 2, "randn_source": "NV", "eta_noise_seed_delta": 7,
                              "sigma_max": 9, "emphasis": "No norm"},
    },
)  # fmt: skip


@pytest.mark.parametrize("fields", ROUND_TRIPS)
def test_the_same_picture_comes_out_of_its_own_text(site: Site, fields: dict[str, Any]) -> None:
    small = {"prompt": "a cat", "steps": 3, "width": 64, "height": 64, "seed": 5, "override_settings": TINY}
    first, answer = generate(site, **{**small, **fields})
    text = json.loads(answer["info"])["infotexts"][0]
    again, repeated = generate(site, infotext=text, override_settings=TINY)
    assert again == first
    assert repeated["images"] == answer["images"]


def test_old_and_partial_texts_are_understood(site: Site) -> None:
    plan, _ = generate(site, infotext="a cat\nSteps: 3, Sampler: DPM++ 2M Karras, CFG scale: 5, Size: 64x64")
    assert (plan.steps, plan.sampler, plan.schedule, plan.hires) == (3, "DPM++ 2M", "Karras", None)
    plan, _ = generate(site, infotext="just a prompt", steps=2, width=64, height=64)
    assert plan.images[0].prompt == "just a prompt"


def test_img2img_reads_the_mask_from_the_text(site: Site) -> None:
    text = (
        "a cat\nSteps: 4, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64, Denoising strength: 0.3, "
        "Mask mode: Inpaint not masked, Mask blur: 2, Inpaint area: Only masked, Masked area padding: 16, "
        "Masked content: latent noise"
    )
    plan, _ = generate(site, "img2img", infotext=text, init_images=[encoded()], mask=encoded("white"))
    assert isinstance(plan.start, FromMaskedImage)
    assert (plan.start.strength, plan.start.invert, plan.start.mask_blur) == (0.3, True, 2)
    assert (plan.start.area, plan.start.padding, plan.start.content) == ("masked", 16, "latent_noise")


@pytest.mark.parametrize("name", ["Sampler", "sampler", "SAMPLER"])
def test_arguments_stand_for_fields_that_were_not_sent(site: Site, name: str) -> None:
    scripts = {
        name: {"args": [3, "Heun", "Karras"]},
        "Seed": {"args": [11, True, 12, 0.5, 0, 0]},
        "Extra options": {"args": []},
        "Comments": {},
    }
    plan, _ = generate(site, alwayson_scripts=scripts, width=64, height=64)
    assert (plan.steps, plan.sampler, plan.schedule) == (3, "Heun", "Karras")
    assert (plan.images[0].seed, plan.images[0].variation_seed, plan.variation.strength) == (11, 12, 0.5)
    plan, _ = generate(site, alwayson_scripts=scripts, width=64, height=64, steps=2, seed=5, sampler_name="Euler")
    assert (plan.steps, plan.sampler, plan.images[0].seed) == (2, "Euler", 5)


def test_a_seed_without_extras_varies_nothing(site: Site) -> None:
    scripts = {"Seed": {"args": [11, False, 12, 0.5, 512, 512]}}
    plan, _ = generate(site, alwayson_scripts=scripts, width=64, height=64, steps=1)
    assert (plan.images[0].seed, plan.images[0].variation_seed, plan.variation.resize_from) == (11, None, None)


@pytest.mark.parametrize(
    ("arguments", "soft"),
    [([True], True), ([True, 1, 0.5, 4, 0, 0.5, 2], True), ([False, 9, 9], False), ([], False), ([None], False)],
)
def test_soft_inpainting_is_switched_on(site: Site, arguments: list[object], soft: bool) -> None:
    plan, _ = generate(
        site, "img2img", init_images=[encoded()], mask=encoded("grey"), steps=2, width=64, height=64,
        alwayson_scripts={"Soft inpainting": {"args": arguments}},
    )  # fmt: skip
    assert isinstance(plan.start, FromMaskedImage) and plan.start.soft is soft
