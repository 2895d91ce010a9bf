"""A1111's fields about the second pass, the second checkpoint, VAE, tiles and guidance: which plan they become."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from tests.api.site import Site, open_site
from webui.api.a1111.schemas.processing import StableDiffusionProcessingTxt2Img
from webui.domain.plan import Plan
from webui.domain.start import FromImage

SMALL = {"prompt": "a cat", "width": 64, "height": 96, "steps": 4, "sampler_name": "Euler a", "scheduler": "karras"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("site"), models=("tiny", "zoom")) as opened:
        yield opened


def generate(site: Site, **fields: Any) -> dict[str, Any]:
    answer = site.client.post("/sdapi/v1/txt2img", json={**SMALL, "override_settings": TINY, **fields})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


TINY = {"sd_model_checkpoint": "tiny"}


def plan(site: Site, **fields: Any) -> Plan:
    generate(site, **fields)
    made = site.studio.jobs(1)[0].plan
    assert isinstance(made, Plan)
    return made


def size_of(text: str) -> tuple[int, int]:
    return Image.open(io.BytesIO(base64.b64decode(text))).size


def test_defaults_are_a1111s() -> None:
    asked = StableDiffusionProcessingTxt2Img()
    assert (asked.enable_hr, asked.hr_scale, asked.hr_upscaler, asked.hr_second_pass_steps) == (False, 2.0, None, 0)
    assert (asked.hr_resize_x, asked.hr_resize_y, asked.denoising_strength) == (0, 0, 0.75)
    assert (asked.hr_sampler_name, asked.hr_scheduler, asked.hr_checkpoint_name) == (None, None, None)
    assert (asked.hr_prompt, asked.hr_negative_prompt, asked.firstphase_width) == ("", "", 0)


def test_without_enable_hr_the_other_fields_mean_nothing(site: Site) -> None:
    assert plan(site, hr_upscaler="No such", hr_scale=-5, hr_resize_x=3, hr_sampler_name="No such").hires is None


def test_the_second_pass_is_as_the_first_unless_told(site: Site) -> None:
    answer = generate(site, enable_hr=True)
    hires = site.studio.jobs(1)[0].plan.hires  # type: ignore[union-attr]
    assert hires is not None
    assert (hires.width, hires.height, hires.scale, hires.upscaler.name) == (128, 192, 2, "Latent")
    assert (hires.steps, hires.strength, hires.sampler, hires.schedule) == (4, 0.75, "Euler a", "Karras")
    assert (hires.guidance, hires.model) == (7, None)
    assert size_of(answer["images"][0]) == (128, 192)
    info = json.loads(answer["info"])
    assert info["denoising_strength"] == 0.75
    assert info["extra_generation_params"]["Hires upscale"] == 2
    assert info["extra_generation_params"]["Hires upscaler"] == "Latent"
    assert "Hires upscale: 2, " in info["infotexts"][0] and "Size: 64x96" in info["infotexts"][0]


@pytest.mark.parametrize("same", [None, "", "Use same sampler", "Use same scheduler", "Use same checkpoint"])
def test_the_words_for_the_same_are_understood(site: Site, same: str | None) -> None:
    hires = plan(site, enable_hr=True, hr_sampler_name=same, hr_scheduler=same, hr_checkpoint_name=same).hires
    assert hires is not None and (hires.sampler, hires.schedule, hires.model) == ("Euler a", "Karras", None)


def test_the_second_pass_can_be_all_its_own(site: Site) -> None:
    made = plan(
        site, enable_hr=True, hr_scale=1.5, hr_upscaler="lanczos", hr_second_pass_steps=9, denoising_strength=0.4,
        hr_sampler_name="DPM++ 2M SDE Karras", hr_checkpoint_name="zoom", hr_prompt="a dog", hr_negative_prompt="fog",
        hr_cfg=3, hr_additional_modules=["Use same choices"],
    )  # fmt: skip
    hires = made.hires
    assert hires is not None and hires.model is not None
    assert (hires.width, hires.height, hires.upscaler.name, hires.upscaler.kind) == (96, 144, "Lanczos", "plain")
    assert (hires.steps, hires.strength, hires.sampler, hires.schedule) == (9, 0.4, "DPM++ 2M SDE", "Karras")
    assert (hires.model.name, hires.guidance) == ("zoom", 3)
    assert (made.images[0].hires_prompt, made.images[0].hires_negative_prompt) == ("a dog", "fog")
    assert (made.images[0].prompt, made.sampler, made.model.name) == ("a cat", "Euler a", "tiny")


@pytest.mark.parametrize(
    ("fields", "enlarged", "size"),
    [
        ({"hr_resize_x": 128}, (128, 192), (128, 192)),
        ({"hr_resize_y": 144}, (96, 144), (96, 144)),
        ({"hr_resize_x": 128, "hr_resize_y": 128}, (128, 192), (128, 128)),
        ({"hr_scale": "1.5"}, (96, 144), (96, 144)),
        ({"firstphase_width": 72, "firstphase_height": 64}, (144, 128), (144, 128)),
    ],
)
def test_sizes_follow_a1111s_rules(
    site: Site, fields: dict[str, Any], enlarged: tuple[int, int], size: tuple[int, int]
) -> None:
    hires = plan(site, enable_hr=True, **fields).hires
    assert hires is not None
    assert (hires.enlarged, (hires.width, hires.height)) == (enlarged, size)


def test_a_finished_picture_can_stand_in_for_the_first_pass(site: Site) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 96), "teal").save(buffer, "PNG")
    picture = base64.b64encode(buffer.getvalue()).decode()
    made = plan(site, enable_hr=True, firstpass_image=picture)
    assert isinstance(made.start, FromImage) and made.hires is not None and made.size == (128, 192)
    assert plan(site, firstpass_image=picture).start.kind == "noise"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"refiner_checkpoint": "zoom", "refiner_switch_at": 0.6}, ("zoom", 0.6)),
        ({"refiner_checkpoint": "zoom"}, ("zoom", 0.01)),
        ({"alwayson_scripts": {"Refiner": {"args": [True, "zoom", 0.7]}}}, ("zoom", 0.7)),
    ],
)
def test_a_refiner_takes_over(site: Site, fields: dict[str, Any], expected: tuple[str, float]) -> None:
    refiner = plan(site, **fields).refiner
    assert refiner is not None and (refiner.model.name, refiner.switch_at) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"refiner_checkpoint": "None", "refiner_switch_at": 0.8},
        {"refiner_checkpoint": "", "refiner_switch_at": 0.8},
        {"refiner_switch_at": 0.8},
        {"refiner_checkpoint": "zoom", "refiner_switch_at": 1},
        {"alwayson_scripts": {"Refiner": {"args": [False, "zoom", 0.7]}}},
    ],
)
def test_no_refiner(site: Site, fields: dict[str, Any]) -> None:
    assert plan(site, **fields).refiner is None


def test_tiling_and_the_guidance_minimum(site: Site) -> None:
    made = plan(site, tiling=True, s_min_uncond=1.5)
    assert (made.tiling, made.guiding.minimum) == ("both", 1.5)
    plain = plan(site, tiling=False)
    assert (plain.tiling, plain.guiding.minimum) == ("none", site.studio.settings().guidance_minimum)
    assert plan(site, override_settings={**TINY, "s_min_uncond": 2}).guiding.minimum == 2
    assert site.studio.settings().guidance_minimum == 0


def test_overrides_hold_for_one_request(site: Site) -> None:
    answer = generate(site, override_settings={**TINY, "samples_format": "jpg", "sd_vae": "None"})
    assert Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))).format == "JPEG"
    assert json.loads(answer["info"])["sd_vae_name"] is None
    assert Image.open(io.BytesIO(base64.b64decode(generate(site)["images"][0]))).format == "PNG"


@pytest.mark.parametrize("vae", ["Automatic", "None", "", None])
def test_no_vae_file_is_the_checkpoints_own(site: Site, vae: str | None) -> None:
    assert plan(site, override_settings={**TINY, "sd_vae": vae}).vae is None
