"""webuiapi, the client most A1111 scripts are built on, against a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import webuiapi

from tests.api.site import Site, open_site, serve, wait_until


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, str]]:
    folder = tmp_path_factory.mktemp("served")
    with open_site(folder, delay=0.02, models=("tiny", "other")) as site, serve(site.app) as url:
        yield site, url


@pytest.fixture
def site(served: tuple[Site, str]) -> Site:
    return served[0]


@pytest.fixture
def api(served: tuple[Site, str]) -> Any:
    return webuiapi.WebUIApi(baseurl=f"{served[1]}/sdapi/v1")  # the constructor asks for the scripts


def small(api: Any, **fields: Any) -> Any:
    return api.txt2img(**{"prompt": "a red circle", "width": 64, "height": 64, "steps": 2, **fields})


def test_txt2img_gives_images_with_infotext(api: Any) -> None:
    result = small(api, negative_prompt="blur", seed=7, batch_size=2, n_iter=2, cfg_scale=6.5)
    assert [image.size for image in result.images] == [(64, 64)] * 4
    assert result.info["all_seeds"] == [7, 8, 9, 10]
    assert [image.text["parameters"] for image in result.images] == result.info["infotexts"]
    assert result.info["infotexts"][0].startswith("a red circle\nNegative prompt: blur\nSteps: 2, Sampler: Euler a, ")
    assert result.parameters["seed"] == 7 and result.parameters["n_iter"] == 2


def test_png_info_reads_what_txt2img_wrote(api: Any) -> None:
    result = small(api, seed=3)
    found = api.png_info(result.image)
    assert found.info == result.info["infotexts"][0]
    assert found.parameters["Seed"] == "3"


def test_an_unknown_sampler_is_an_error(api: Any) -> None:
    with pytest.raises(RuntimeError) as error:
        small(api, sampler_name="PLMR")
    assert error.value.args[0] == 404
    assert json.loads(error.value.args[1])["detail"].startswith("Sampler not found")


def test_progress_interrupt_and_idle(site: Site, api: Any) -> None:
    results: list[Any] = []
    work = threading.Thread(target=lambda: results.append(small(api, steps=150, n_iter=100)))
    work.start()
    wait_until(lambda: api.get_progress()["progress"] > 0.01)
    running = api.get_progress()
    assert running["state"]["job_count"] == 100 and running["state"]["sampling_steps"] == 150
    wait_until(lambda: api.get_progress()["current_image"])
    assert api.skip() == {}
    wait_until(lambda: api.get_progress()["state"]["job_no"] > 0)
    assert api.interrupt() == {}
    work.join()
    assert len(results[0].images) < 100
    idle = api.get_progress()
    assert idle["progress"] == 0 and idle["state"]["job_count"] == 0 and idle["current_image"] is None


def test_options_are_taken_back_whole(site: Site, api: Any) -> None:
    options = api.get_options()
    assert api.set_options(options) is None
    assert site.studio.settings().model is None  # nothing was chosen by posting back what was shown
    options["CLIP_stop_at_last_layers"] = 2
    api.set_options(options)
    assert api.get_options()["CLIP_stop_at_last_layers"] == 2


def test_models_are_listed_and_chosen(api: Any) -> None:
    assert {model["model_name"] for model in api.get_sd_models()} == {"tiny", "other"}
    assert api.refresh_checkpoints() is None
    api.util_set_model("other")
    assert api.util_get_current_model().startswith("other [")
    assert small(api).info["sd_model_name"] == "other"
    assert small(api, override_settings={"sd_model_checkpoint": "tiny"}).info["sd_model_name"] == "tiny"
    assert api.util_get_current_model().startswith("other [")
    assert api.util_wait_for_ready(check_interval=0) is None


def test_lists_are_honest(api: Any) -> None:
    assert [sampler["name"] for sampler in api.get_samplers()][:2] == ["DPM++ 2M", "DPM++ SDE"]
    assert {schedule["name"] for schedule in api.get_schedulers()} >= {"automatic", "karras"}
    for empty in (api.get_sd_vae, api.get_loras, api.get_hypernetworks, api.get_face_restorers):
        assert empty() == []
    assert [upscaler["name"] for upscaler in api.get_upscalers()][:3] == ["None", "Lanczos", "Nearest"]
    assert api.get_latent_upscale_modes()[0] == {"name": "Latent"} and len(api.get_latent_upscale_modes()) == 6
    assert api.get_realesrgan_models() == []
    assert api.get_prompt_styles() == []
    always_on = ["comments", "extra options", "refiner", "sampler", "seed"]
    assert {*always_on, "controlnet"} <= set(api.get_scripts()["txt2img"])
    assert {*always_on, "soft inpainting", "controlnet"} <= set(api.get_scripts()["img2img"])
    assert api.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert api.get_memory()["ram"]["used"] > 0
    assert api.get_cmd_flags()["api_auth"] is None


def test_basic_auth(tmp_path: Path) -> None:
    with open_site(tmp_path, "--api-auth=bot:token") as site, serve(site.app) as url:
        stranger = webuiapi.WebUIApi(baseurl=f"{url}/sdapi/v1")
        with pytest.raises(RuntimeError, match="401"):
            small(stranger)
        assert site.studio.jobs() == ()
        api = webuiapi.WebUIApi(baseurl=f"{url}/sdapi/v1", username="bot", password="token")
        assert small(api).image.size == (64, 64)
