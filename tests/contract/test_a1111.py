"""What other clients send and read, replayed against the whole site (see each test's name)."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from tests.api.site import Site, open_site
from webui.api.a1111.schemas.processing import StableDiffusionProcessingTxt2Img


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One site for the whole file: no test here leaves anything behind but jobs."""
    with open_site(tmp_path_factory.mktemp("site")) as opened:
        yield opened


SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 2}


def generate(site: Site, **fields: Any) -> dict[str, Any]:
    answer = site.client.post("/sdapi/v1/txt2img", json={**SMALL, **fields})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def infotext(site: Site, **fields: Any) -> str:
    return str(json.loads(generate(site, **fields)["info"])["infotexts"][0])


def test_defaults_are_a1111s(site: Site) -> None:
    asked = StableDiffusionProcessingTxt2Img()
    assert (asked.steps, asked.cfg_scale, asked.width, asked.height) == (50, 7.0, 512, 512)
    assert (asked.sampler_index, asked.seed, asked.n_iter, asked.batch_size) == ("Euler", -1, 1, 1)
    assert (asked.send_images, asked.save_images) == (True, False)
    text = str(json.loads(site.client.post("/sdapi/v1/txt2img", json={}).json()["info"])["infotexts"][0])
    assert "Steps: 50, Sampler: Euler, " in text and "Size: 512x512" in text


def test_images_are_bare_base64_pngs(site: Site) -> None:
    answer = generate(site, seed=5)
    image = Image.open(io.BytesIO(base64.b64decode(answer["images"][0], validate=True)))
    assert image.format == "PNG" and image.size == (64, 64)
    assert image.text["parameters"] == json.loads(answer["info"])["infotexts"][0]  # type: ignore[attr-defined]


def test_info_has_a1111s_keys(site: Site) -> None:
    info = json.loads(generate(site, seed=5, batch_size=2)["info"])
    assert set(info) >= {
        "prompt", "all_prompts", "negative_prompt", "all_negative_prompts", "seed", "all_seeds", "subseed",
        "all_subseeds", "subseed_strength", "width", "height", "sampler_name", "cfg_scale", "steps", "batch_size",
        "restore_faces", "face_restoration_model", "sd_model_name", "sd_model_hash", "sd_vae_name", "sd_vae_hash",
        "seed_resize_from_w", "seed_resize_from_h", "denoising_strength", "extra_generation_params",
        "index_of_first_image", "infotexts", "styles", "job_timestamp", "clip_skip", "version",
        "is_using_inpainting_conditioning",
    }  # fmt: skip
    assert info["all_prompts"] == ["a cat", "a cat"] and info["seed"] == 5


def test_send_images_false_sends_none(site: Site) -> None:
    assert generate(site, send_images=False)["images"] == []


def test_save_images_decides_where_they_lie(site: Site) -> None:
    def kept() -> list[Path]:
        return [path for path in site.config.outputs_dir.rglob("*.png") if ".easel" not in path.parts]

    before = kept()
    generate(site)
    assert kept() == before
    generate(site, save_images=True)
    assert len(kept()) == len(before) + 1


@pytest.mark.parametrize(("saves", "grids"), [(True, 1), (False, 0)])
def test_the_grid_comes_first_when_images_are_saved(site: Site, saves: bool, grids: int) -> None:
    answer = generate(site, batch_size=2, n_iter=2, seed=5, save_images=saves)
    info = json.loads(answer["info"])
    assert info["index_of_first_image"] == grids
    sizes = [Image.open(io.BytesIO(base64.b64decode(image))).size for image in answer["images"]]
    assert sizes == [(128, 128)] * grids + [(64, 64)] * 4
    assert len(info["infotexts"]) == len(sizes) and info["all_seeds"] == [5, 6, 7, 8]
    assert ["Seed: 5, " in text for text in info["infotexts"]] == [True] * grids + [True, False, False, False]
    assert info["extra_generation_params"] == {"Schedule type": "Automatic"}


@pytest.mark.parametrize("field", ["sampler_name", "sampler_index"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DPM++ 2M Karras", "Sampler: DPM++ 2M, Schedule type: Karras"),
        ("Euler a", "Sampler: Euler a, Schedule type: Automatic"),
        ("k_euler", "Sampler: Euler, Schedule type: Automatic"),
        ("k_dpmpp_2m_sde_ka", "Sampler: DPM++ 2M SDE, Schedule type: Karras"),
        ("DPM++ 2M SGM Uniform", "Sampler: DPM++ 2M, Schedule type: SGM Uniform"),
    ],
)
def test_combined_and_old_sampler_names_work(site: Site, field: str, name: str, expected: str) -> None:
    assert expected in infotext(site, **{field: name})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"subseed": 9, "subseed_strength": 0.2}, "Variation seed: 9, Variation seed strength: 0.2, "),
        ({"seed_resize_from_w": 512, "seed_resize_from_h": 320}, "Seed resize from: 512x320, "),
        ({"sampler_name": "Euler a", "eta": 0.3}, "Eta: 0.3, "),
        ({"sampler_name": "DDIM", "eta": 1.0}, "Eta DDIM: 1, "),
        ({"s_churn": 5, "s_tmin": 0.1, "s_tmax": 9, "s_noise": 1.01},
         "Sigma churn: 5, Sigma tmin: 0.1, Sigma tmax: 9, Sigma noise: 1.01, "),
        ({"override_settings": {"randn_source": "NV"}}, "RNG: NV, "),
        ({"override_settings": {"eta_noise_seed_delta": 31337}, "sampler_name": "Euler a"}, "ENSD: 31337, RNG: CPU, "),
        ({"override_settings": {"rho": 5, "sigma_max": 10}}, "Schedule max sigma: 10, Schedule rho: 5, "),
        ({"override_settings": {"always_discard_next_to_last_sigma": True}}, "Discard penultimate sigma: True, "),
    ],
)  # fmt: skip
def test_options_of_sampling_are_in_the_text(site: Site, fields: dict[str, Any], expected: str) -> None:
    assert expected in infotext(site, **fields)


@pytest.mark.parametrize("fields", [
    {"sampler_name": "DPM++ 2M", "eta": 1.0, "s_churn": 5}, {"sampler_name": "Euler a", "eta": 1.0},
    {"seed_resize_from_w": 512, "seed_resize_from_h": -1}, {"subseed": 5, "subseed_strength": 0, "s_tmax": 0},
])  # fmt: skip
def test_options_that_mean_nothing_leave_no_trace(site: Site, fields: dict[str, Any]) -> None:
    text = infotext(site, **fields)
    assert not any(word in text for word in ("Eta", "Sigma", "Variation", "resize"))


def test_variations_share_the_seed_and_count_their_own_up(site: Site) -> None:
    info = json.loads(generate(site, seed=5, subseed=70, subseed_strength=0.5, batch_size=2)["info"])
    assert (info["all_seeds"], info["all_subseeds"], info["subseed_strength"]) == ([5, 5], [70, 71], 0.5)


def test_samplers_tell_their_options_as_a1111(site: Site) -> None:
    listed = {item["name"]: item for item in site.client.get("/sdapi/v1/samplers").json()}
    assert len(listed) == 25
    assert listed["DPM2 a"] == {
        "name": "DPM2 a",
        "aliases": ["k_dpm_2_a"],
        "options": {
            "scheduler": "karras", "discard_next_to_last_sigma": "True", "uses_ensd": "True", "second_order": "True",
        },
    }  # fmt: skip
    assert listed["DPM++ 2M SDE"]["options"] == {"scheduler": "exponential", "brownian_noise": "True"}
    assert listed["Euler"]["options"] == {}
    schedules = {item["name"]: item for item in site.client.get("/sdapi/v1/schedulers").json()}
    assert schedules["sgm_uniform"] == {
        "name": "sgm_uniform", "label": "SGM Uniform", "aliases": ["SGMUniform"], "default_rho": -1.0,
        "need_inner_model": True,
    }  # fmt: skip
    assert (schedules["karras"]["default_rho"], schedules["polyexponential"]["default_rho"]) == (7.0, 1.0)


@pytest.mark.parametrize("scheduler", ["karras", "Karras", "KARRAS"])
def test_schedulers_are_found_by_name_and_label(site: Site, scheduler: str) -> None:
    assert "Schedule type: Karras" in infotext(site, sampler_name="Euler", scheduler=scheduler)


def test_text_numbers_nulls_and_foreign_keys_are_accepted(site: Site) -> None:
    text = infotext(site, steps="3", cfg_scale="4.5", width="64", enable_hr=0, restore_faces=0, send_images=1,
                    sampler_name=None, seed=None, styles=None, s_tmax=None, script_args=None, alwayson_scripts=None,
                    url="http://a", auth="x", uniqueDocumentId="1", clip_skip=1, image_similarity=3)  # fmt: skip
    assert "Steps: 3, " in text and "CFG scale: 4.5, " in text


def test_sillytavern_sends_neutral_extras(site: Site) -> None:
    generate(site, sampler_name="Euler a", scheduler="karras", enable_hr=False, hr_upscaler="Latent", hr_scale=2,
             hr_additional_modules=[], denoising_strength=0.7, hr_second_pass_steps=0,
             override_settings={"CLIP_stop_at_last_layers": 2, "sd_vae": "Automatic", "forge_additional_modules": []},
             override_settings_restore_afterwards=True, do_not_save_grid=True, do_not_save_samples=True)  # fmt: skip
    assert "Clip skip: 2" in infotext(site, override_settings={"CLIP_stop_at_last_layers": 2})
    assert site.studio.settings().clip_skip == 1


def test_text_generation_webui_sends_a_scale_as_text_and_an_upscaler_we_lack(site: Site) -> None:
    generate(site, hr_scale="1.0", hr_upscaler="ESRGAN_4x", enable_hr=False, override_settings_restore_afterwards=True)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"alwayson_scripts": {"AnimateDiff": {"args": [True]}}}, "always on script AnimateDiff not found"),
        ({"alwayson_scripts": {"Soft inpainting": {"args": [True]}}}, "Soft inpainting not found"),
        ({"script_name": "no such"}, "Script 'no such' not found"),
        ({"restore_faces": True}, "restore_faces"),
        ({"enable_hr": True, "hr_additional_modules": ["t5"]}, "hr_additional_modules"),
        ({"override_settings": {"no_such": 1}}, "override_settings.no_such"),
        ({"override_settings": {"sd_vae": 5}}, "override_settings.sd_vae"),
        ({"override_settings": {"sd_model_checkpoint": 5}}, "override_settings.sd_model_checkpoint"),
        ({"override_settings": {"CLIP_stop_at_last_layers": 99}}, "CLIP_stop_at_last_layers"),
        ({"override_settings": {"samples_save": True}, "override_settings_restore_afterwards": False}, "overrid"),
    ],
)
def test_what_is_missing_is_refused_by_name(site: Site, fields: dict[str, Any], named: str) -> None:
    jobs = site.studio.jobs(500)
    answer = site.client.post("/sdapi/v1/txt2img", json={**SMALL, **fields})
    assert answer.status_code == 422
    assert named in answer.json()["detail"]
    assert site.studio.jobs(500) == jobs


@pytest.mark.parametrize(
    ("fields", "status", "named"),
    [
        ({"width": 63}, 422, "width"),
        ({"height": 515}, 422, "height"),
        ({"width": 0}, 422, "width"),
        ({"width": -512}, 422, "width"),
        ({"width": 16384}, 422, "width"),
        ({"steps": 0}, 422, "steps"),
        ({"eta": 1.5}, 422, "eta: "),
        ({"s_churn": -1}, 422, "s_churn: "),
        ({"s_noise": 50}, 422, "s_noise: "),
        ({"subseed_strength": 1.2}, 422, "subseed_strength: "),
        ({"subseed_strength": -0.2}, 422, "subseed_strength: "),
        ({"subseed_strength": 0.2, "subseed": -5}, 422, "subseed: "),
        ({"seed_resize_from_w": 10, "seed_resize_from_h": 512}, 422, "seed_resize_from_w: "),
        ({"steps": 10**6}, 422, "steps"),
        ({"steps": 10**30}, 422, "steps"),
        ({"cfg_scale": -1}, 422, "cfg_scale"),
        ({"cfg_scale": 1e30}, 422, "cfg_scale"),
        ({"cfg_scale": "nan"}, 422, "cfg_scale"),
        ({"cfg_scale": "inf"}, 422, "cfg_scale"),
        ({"seed": -2}, 422, "seed"),
        ({"seed": 2**64}, 422, "seed"),
        ({"batch_size": 0}, 422, "batch_size"),
        ({"n_iter": 10**9}, 422, "n_iter"),
        ({"prompt": "x" * 100_000}, 422, "prompt"),
        ({"prompt": 5}, 422, "prompt"),
        ({"prompt": "\ud800"}, 422, "prompt"),
        ({"steps": "five"}, 422, "steps"),
        ({"steps": []}, 422, "steps"),
        ({"s_min_uncond": -1}, 422, "s_min_uncond: "),
        ({"refiner_checkpoint": "tiny", "refiner_switch_at": 1.2}, 422, "refiner_switch_at: "),
        ({"enable_hr": True, "hr_scale": 0.5}, 422, "hr_scale: "),
        ({"enable_hr": True, "hr_scale": "nan"}, 422, "hr_scale"),
        ({"enable_hr": True, "hr_scale": 1e9}, 422, "hr_scale: "),
        ({"enable_hr": True, "hr_resize_x": 10}, 422, "hr_resize_x: "),
        ({"enable_hr": True, "hr_resize_y": -8}, 422, "hr_resize_y: "),
        ({"enable_hr": True, "hr_second_pass_steps": 151}, 422, "hr_second_pass_steps: "),
        ({"enable_hr": True, "denoising_strength": 1.5}, 422, "denoising_strength: "),
        ({"enable_hr": True, "hr_cfg": -1}, 422, "hr_cfg: "),
        ({"enable_hr": True, "hr_prompt": "x" * 100_000}, 422, "hr_prompt: "),
        ({"enable_hr": True, "hr_upscaler": "No such"}, 404, "hr_upscaler: "),
        ({"enable_hr": True, "hr_sampler_name": "No such"}, 404, "hr_sampler_name: "),
        ({"enable_hr": True, "hr_scheduler": "No such"}, 404, "hr_scheduler: "),
        ({"enable_hr": True, "hr_checkpoint_name": "No such"}, 404, "hr_checkpoint_name: "),
        ({"refiner_checkpoint": "No such", "refiner_switch_at": 0.8}, 404, "refiner_checkpoint: "),
        ({"override_settings": {"sd_vae": "No such"}}, 404, "override_settings.sd_vae: "),
        ({"styles": ["No such"]}, 404, "No such"),
        ({"infotext": "a cat\nSteps: 5, Sampler: Euler, CFG scale: seven"}, 422, "cfg_scale"),
        ({"infotext": "a cat\nSteps: 3, Sampler: No such, CFG scale: 7"}, 404, "Sampler not found"),
        ({"alwayson_scripts": {"Seed": {"args": ["x"]}}}, 422, "seed"),
        ({"alwayson_scripts": {"Sampler": []}}, 422, "alwayson_scripts.Sampler"),
        ({"alwayson_scripts": {"Seed": {"args": {}}}}, 422, "alwayson_scripts.Seed"),
        ({"alwayson_scripts": {"Comments": {"args": [1]}}}, 422, "alwayson_scripts.Comments"),
        ({"sampler_name": "No such"}, 404, "Sampler not found"),
        ({"scheduler": "No such"}, 404, "Schedule not found"),
        ({"override_settings": {"sd_model_checkpoint": "no such"}}, 404, "Model not found"),
    ],
)
def test_bad_values_are_refused_and_the_next_job_works(
    site: Site, fields: dict[str, Any], status: int, named: str
) -> None:
    jobs = site.studio.jobs(500)
    answer = site.client.post("/sdapi/v1/txt2img", content=json.dumps({**SMALL, **fields}),
                              headers={"Content-Type": "application/json"})  # fmt: skip
    assert answer.status_code == status, answer.text
    assert named in json.dumps(answer.json()["detail"])
    assert len(answer.content) < 2000
    assert site.studio.jobs(500) == jobs
    assert len(generate(site)["images"]) == 1


def test_an_empty_prompt_is_fine(site: Site) -> None:
    assert len(generate(site, prompt="")["images"]) == 1


def test_the_sampler_error_begins_as_a1111s(site: Site) -> None:
    answer = site.client.post("/sdapi/v1/txt2img", json={**SMALL, "sampler_name": "PLMR"})
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("Sampler not found")


def test_type_errors_are_fastapis_list(site: Site) -> None:
    detail = site.client.post("/sdapi/v1/txt2img", json={"steps": "x"}).json()["detail"]
    assert detail == [
        {
            "type": "int_parsing",
            "loc": ["body", "steps"],
            "msg": "Input should be a valid integer, unable to parse string as an integer",
            "input": "x",
        }
    ]


@pytest.mark.parametrize("path", ["server-kill", "server-restart", "server-stop", "no-such"])
def test_unknown_routes_are_not_found(site: Site, path: str) -> None:
    answer = site.client.post(f"/sdapi/v1/{path}", json={})
    assert (answer.status_code, answer.json()["detail"]) == (404, "Not Found")


def test_a_wrong_method_is_not_allowed(site: Site) -> None:
    answer = site.client.get("/sdapi/v1/txt2img")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("ending", ["", "/", "//", "?", "/?"])
def test_trailing_slashes_do_not_matter(site: Site, ending: str) -> None:
    assert site.client.get(f"/sdapi/v1/options{ending}").status_code == 200
    assert site.client.post(f"/sdapi/v1/txt2img{ending}", json=SMALL).status_code == 200


@pytest.mark.parametrize("path", ["interrupt", "skip", "refresh-checkpoints", "refresh-vae", "refresh-loras",
                                  "refresh-embeddings", "unload-checkpoint", "reload-checkpoint"])  # fmt: skip
@pytest.mark.parametrize("body", [None, b"", b'""', b"{}"])
def test_commands_answer_json_whatever_the_body(site: Site, path: str, body: bytes | None) -> None:
    answer = site.client.post(f"/sdapi/v1/{path}", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert answer.json() in ({}, None)


def test_an_empty_authorization_header_is_harmless(site: Site) -> None:
    assert site.client.get("/sdapi/v1/options", headers={"Authorization": ""}).status_code == 200


def test_options_never_look_like_forge(site: Site) -> None:
    assert "forge_preset" not in site.client.get("/sdapi/v1/options").json()


def test_options_change_all_or_nothing(tmp_path: Path) -> None:
    with open_site(tmp_path) as site:
        _change_options(site)


def _change_options(site: Site) -> None:
    def shown() -> dict[str, Any]:
        options = site.client.get("/sdapi/v1/options").json()
        known_later = (
            "sd_model_checkpoint",
            "sd_checkpoint_hash",
        )  # the title holds the hash, which is computed meanwhile
        return {name: value for name, value in options.items() if name not in known_later}

    before = shown()
    answer = site.client.post("/sdapi/v1/options", json={"CLIP_stop_at_last_layers": 2, "no_such": 1})
    assert answer.status_code == 422 and "no_such" in answer.json()["detail"]
    assert shown() == before
    answer = site.client.post("/sdapi/v1/options", json={"sd_model_checkpoint": "nope", "samples_save": False})
    assert answer.status_code == 404
    assert shown() == before
    assert site.client.post("/sdapi/v1/options", json={"samples_save": False}).json() is None
    assert shown()["samples_save"] is False


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_png_info(site: Site, prefix: str) -> None:
    answer = generate(site, seed=5, prompt="a cat", negative_prompt="a dog")
    found = site.client.post("/sdapi/v1/png-info", json={"image": prefix + answer["images"][0]}).json()
    assert found["info"] == json.loads(answer["info"])["infotexts"][0]
    assert found["items"] == {}  # as in A1111, the infotext is not repeated among the other texts
    parameters = found["parameters"]
    assert (parameters["Prompt"], parameters["Negative prompt"]) == ("a cat", "a dog")
    assert parameters["Seed"] == "5" and parameters["Size-1"] == "64" and parameters["Size-2"] == "64"


def test_png_info_without_an_image_is_empty(site: Site) -> None:
    assert site.client.post("/sdapi/v1/png-info", json={"image": ""}).json()["info"] == ""
    plain = io.BytesIO()
    Image.new("RGB", (8, 8)).save(plain, "PNG")
    answer = site.client.post("/sdapi/v1/png-info", json={"image": base64.b64encode(plain.getvalue()).decode()})
    assert answer.json() == {"info": "", "items": {}, "parameters": {}}


def test_internal_progress_follows_one_task(site: Site) -> None:
    nobody = site.client.post("/internal/progress", json={"id_task": "task(x)"}).json()
    assert (nobody["active"], nobody["queued"], nobody["completed"]) == (False, False, False)
    generate(site, force_task_id="task(abc)")
    done = site.client.post("/internal/progress", json={"id_task": "task(abc)"}).json()
    assert (done["active"], done["queued"], done["completed"]) == (False, False, True)
    assert site.client.get("/internal/ping").json() == {}


def test_schema_names_and_operation_ids_are_a1111s(site: Site) -> None:
    described = site.client.get("/openapi.json").json()
    names = {"StableDiffusionProcessingTxt2Img", "TextToImageResponse", "ProgressResponse", "Options", "Flags",
             "SDModelItem", "SamplerItem", "SchedulerItem", "PNGInfoRequest", "PNGInfoResponse",
             "StableDiffusionProcessingImg2Img", "ImageToImageResponse", "ExtrasSingleImageRequest",
             "ExtrasSingleImageResponse", "ExtrasBatchImagesRequest", "ExtrasBatchImagesResponse", "FileData",
             "UpscalerItem", "LatentUpscalerModeItem", "RealesrganItem", "SDVaeItem", "EmbeddingItem", "ScriptInfo",
             "ScriptArg", "ScriptsList", "PromptStyleItem", "InterrogateRequest"}  # fmt: skip
    assert names <= set(described["components"]["schemas"])
    operations = {operation["operationId"] for path in described["paths"].values() for operation in path.values()}
    assert operations >= {
        "text2imgapi_sdapi_v1_txt2img_post",
        "pnginfoapi_sdapi_v1_png_info_post",
        "progressapi_sdapi_v1_progress_get",
        "interruptapi_sdapi_v1_interrupt_post",
        "get_config_sdapi_v1_options_get",
        "set_config_sdapi_v1_options_post",
        "get_sd_models_sdapi_v1_sd_models_get",
        "img2imgapi_sdapi_v1_img2img_post",
        "extras_single_image_api_sdapi_v1_extra_single_image_post",
        "extras_batch_images_api_sdapi_v1_extra_batch_images_post",
        "interrogateapi_sdapi_v1_interrogate_post",
        "get_upscalers_sdapi_v1_upscalers_get",
        "get_latent_upscale_modes_sdapi_v1_latent_upscale_modes_get",
        "get_sd_vaes_sdapi_v1_sd_vae_get",
        "get_embeddings_sdapi_v1_embeddings_get",
        "get_script_info_sdapi_v1_script_info_get",
        "unloadapi_sdapi_v1_unload_checkpoint_post",
        "reloadapi_sdapi_v1_reload_checkpoint_post",
        "refresh_vae_sdapi_v1_refresh_vae_post",
    }


def test_flags_do_not_tell_passwords(tmp_path: Path) -> None:
    with open_site(tmp_path, "--api-auth=bot:CANARY-7f3a") as site:
        credentials = base64.b64encode(b"bot:CANARY-7f3a").decode()
        answer = site.client.get("/sdapi/v1/cmd-flags", headers={"Authorization": f"Basic {credentials}"})
        assert answer.status_code == 200 and "api_auth" in answer.json()
        assert "CANARY" not in answer.text


def test_non_finite_numbers_never_pass_the_schema() -> None:
    for number in ("nan", "inf", float("inf"), "1e999"):
        with pytest.raises(ValidationError):
            StableDiffusionProcessingTxt2Img(cfg_scale=number)  # type: ignore[arg-type]


def test_forges_modules_must_be_there(site: Site) -> None:
    asked = {**SMALL, "override_settings": {"forge_additional_modules": ["/a/t5xxl.safetensors"]}}
    answer = site.client.post("/sdapi/v1/txt2img", json=asked)
    assert answer.status_code == 404 and "t5xxl" in answer.text


def test_forges_distilled_cfg_scale_is_passed_over_where_no_model_is_told_one(site: Site) -> None:
    assert "Distilled CFG Scale" not in infotext(site, distilled_cfg_scale=3.5)
    assert generate(site, distilled_cfg_scale=None)
