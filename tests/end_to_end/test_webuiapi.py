"""webuiapi, the client most A1111 scripts are built on, against the real server, worker and pocket models."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import webuiapi
from PIL import Image
from safetensors.numpy import load_file, save_file

from tests.serving import POCKET, ROOT, RunningServer, wait_until
from tools.pocket.scorer import Scorer

UPSCALER = ROOT / "models" / "ESRGAN" / "pocket-x2.safetensors"


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer.load()


@pytest.fixture(scope="module")
def api(pocket_server: RunningServer) -> Any:
    upscalers = pocket_server.data_dir / "models" / "ESRGAN"
    upscalers.mkdir(parents=True, exist_ok=True)
    shutil.copy(UPSCALER, upscalers)
    client = webuiapi.WebUIApi(baseurl=f"{pocket_server.url}/sdapi/v1", sampler="DPM++ 2M", scheduler="karras")
    client.refresh_checkpoints()
    return client


def draw(api: Any, prompt: str, **fields: Any) -> Any:
    return api.txt2img(
        **{"prompt": prompt, "width": 128, "height": 128, "steps": 12, "cfg_scale": 5, "seed": 1, **fields}
    )


def pixels(image: Image.Image) -> np.ndarray[Any, Any]:
    return np.asarray(image.convert("RGB"), np.int16)


def test_a_second_pass_enlarges_what_was_asked_for(api: Any, scorer: Scorer) -> None:
    result = draw(api, "a red circle", enable_hr=True, hr_scale=1.5, hr_upscaler="Lanczos", denoising_strength=0.3,
                  hr_second_pass_steps=4)  # fmt: skip
    assert result.image.size == (192, 192)
    assert "Hires upscale: 1.5, Hires steps: 4, Hires upscaler: Lanczos" in result.info["infotexts"][0]
    seen = scorer.describe(result.image.resize((128, 128)))
    assert (seen.colour, seen.object) == ("red", "circle")


def test_a_second_pass_may_mean_another_thing(api: Any, scorer: Scorer) -> None:
    result = draw(api, "a red circle", enable_hr=True, hr_resize_x=128, hr_resize_y=128, hr_upscaler="Latent",
                  hr_prompt="a blue circle", denoising_strength=1.0)  # fmt: skip
    assert scorer.describe(result.image).colour == "blue"


def test_pictures_are_enlarged(api: Any) -> None:
    picture = draw(api, "a red circle").image
    names = [upscaler["name"] for upscaler in api.get_upscalers()]
    assert "pocket-x2" in names and api.get_realesrgan_models()[0]["name"] == "pocket-x2"
    one = api.extra_single_image(picture, upscaler_1="pocket-x2", upscaling_resize=2)
    assert one.image.size == (256, 256)
    assert one.info == "<p>Postprocess upscale by: 2, Postprocess upscaler: pocket-x2</p>"
    assert abs(pixels(one.image.resize((128, 128))) - pixels(picture)).mean() < 8
    wide, tall = Image.new("RGB", (40, 20), "red"), Image.new("RGB", (20, 40), "blue")
    many = api.extra_batch_images(
        [wide, tall], upscaler_1="Lanczos", resize_mode=1, upscaling_resize_w=80, upscaling_resize_h=80
    )
    assert [image.size for image in many.images] == [(80, 80), (80, 80)]
    assert [tuple(pixels(image)[40, 40]) for image in many.images] == [(255, 0, 0), (0, 0, 255)]
    plain = api.extra_single_image(picture)
    assert np.array_equal(pixels(plain.image), pixels(picture))


def test_a_plot_asks_for_each_of_its_values(api: Any, scorer: Scorer) -> None:
    arguments = ["Prompt S/R", "red,blue", [], "Nothing", "", [], "Nothing", "", [], True, True]
    result = draw(api, "a red circle", script_name="X/Y/Z plot", script_args=arguments)
    assert result.info["index_of_first_image"] == 1
    assert result.images[0].width == 2 * 128 and result.images[0].height > 128
    assert [scorer.describe(image).colour for image in result.images[1:]] == ["red", "blue"]


def test_a_style_is_part_of_the_prompt(api: Any, pocket_server: RunningServer, scorer: Scorer) -> None:
    with pocket_server.client() as client:
        client.post("/api/v2/styles", json={"name": "in blue", "prompt": "a blue {prompt}"})
    assert {style["name"] for style in api.get_prompt_styles()} == {"in blue"}
    result = draw(api, "circle", styles=["in blue"])
    assert result.info["prompt"] == "a blue circle" and result.info["styles"] == ["in blue"]
    assert scorer.describe(result.image).colour == "blue"


def test_a_vae_file_decodes_one_picture(api: Any, pocket_server: RunningServer) -> None:
    tensors = load_file(POCKET / "vae" / "diffusion_pytorch_model.safetensors")
    for name in ("decoder.conv_out.weight", "decoder.conv_out.bias"):
        tensors[name] = np.ascontiguousarray(tensors[name][::-1])  # blue, green, red
    folder = pocket_server.data_dir / "models" / "VAE"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "bgr.safetensors")
    with pocket_server.client() as client:
        assert client.post("/sdapi/v1/refresh-vae").json() is None
    assert [vae["model_name"] for vae in api.get_sd_vae()] == ["bgr.safetensors"]
    usual = draw(api, "a red circle")
    swapped = draw(api, "a red circle", override_settings={"sd_vae": "bgr.safetensors"})
    assert abs(pixels(swapped.image)[..., ::-1] - pixels(usual.image)).max() <= 1
    assert swapped.info["sd_vae_name"] == "bgr.safetensors" and len(swapped.info["sd_vae_hash"]) == 10
    assert "VAE: bgr.safetensors" in swapped.info["infotexts"][0]
    again = draw(api, "a red circle")
    assert again.info["sd_vae_name"] is None and np.array_equal(pixels(again.image), pixels(usual.image))


def test_a_text_asks_for_the_same_picture(api: Any, pocket_server: RunningServer) -> None:
    first = draw(api, "a (red:1.2) circle", negative_prompt="blue", seed=9, sampler_name="Euler a")
    with pocket_server.client() as client:
        answer = client.post("/sdapi/v1/txt2img", json={"infotext": first.info["infotexts"][0]})
    assert answer.status_code == 200
    assert answer.json()["images"] == first.json["images"]


def test_models_are_let_go_and_come_back(api: Any, pocket_server: RunningServer) -> None:
    before = draw(api, "a red circle")
    assert "model" in api.get_memory()["cuda"]
    assert api.custom_get("unload-checkpoint", baseurl=True)["detail"] == "Method Not Allowed"
    with pocket_server.client() as client:
        assert client.post("/sdapi/v1/unload-checkpoint", json="").json() == {}
        wait_until(lambda: "model" not in api.get_memory()["cuda"], "the model to be let go", pocket_server)
        assert client.post("/sdapi/v1/reload-checkpoint", json="").json() == {}
    assert np.array_equal(pixels(draw(api, "a red circle").image), pixels(before.image))
