"""A1111's img2img: what its clients send, and what is refused (the stub runner draws; the engine has its own tests)."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import webuiapi
from PIL import Image

from tests.api.site import Site, open_site, serve
from webui.api.a1111.schemas.processing import StableDiffusionProcessingImg2Img
from webui.domain.start import FromImage, FromMaskedImage


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("site")) as opened:
        yield opened


def encoded(colour: str = "red", size: tuple[int, int] = (80, 48)) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 8}


def send(site: Site, **fields: Any) -> Any:
    return site.client.post("/sdapi/v1/img2img", json={**SMALL, "init_images": [encoded()], **fields})


def generate(site: Site, **fields: Any) -> dict[str, Any]:
    answer = send(site, **fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def infotext(site: Site, **fields: Any) -> str:
    return str(json.loads(generate(site, **fields)["info"])["infotexts"][0])


def newest_start(site: Site) -> Any:
    return site.studio.jobs(1)[0].plan.start


def test_defaults_are_a1111s() -> None:
    asked = StableDiffusionProcessingImg2Img()
    assert (asked.denoising_strength, asked.resize_mode, asked.steps) == (0.75, 0, 50)
    assert (asked.inpainting_fill, asked.inpaint_full_res, asked.inpaint_full_res_padding) == (0, True, 0)
    assert (asked.mask_blur, asked.mask_blur_x, asked.mask_blur_y, asked.inpainting_mask_invert) == (None, 4, 4, 0)
    assert asked.include_init_images is False


def test_a_picture_becomes_a_start(site: Site) -> None:
    answer = generate(site, denoising_strength=0.5, resize_mode=2)
    start = newest_start(site)
    assert isinstance(start, FromImage)
    assert (start.strength, start.resize) == (0.5, "fill")
    stored = Image.open(site.studio.input_path(start.images[0]))
    assert stored.size == (80, 48) and stored.getpixel((0, 0)) == (255, 0, 0)
    info = json.loads(answer["info"])
    assert info["denoising_strength"] == 0.5
    assert "Denoising strength: 0.5, " in info["infotexts"][0]
    assert "Mask" not in info["infotexts"][0]
    assert answer["parameters"]["init_images"] is None and answer["parameters"]["mask"] is None
    assert generate(site, include_init_images=True)["parameters"]["init_images"] == [encoded()]


@pytest.mark.parametrize(
    ("exact", "strength", "run"), [(False, 0.5, 5), (False, 1.0, 8), (False, 0.0, 1), (True, 0.5, 8), (True, 0.0, 8)]
)
def test_strength_decides_how_many_steps_are_run(site: Site, exact: bool, strength: float, run: int) -> None:
    generate(site, denoising_strength=strength, override_settings={"img2img_fix_steps": exact})
    plan = site.studio.jobs(1)[0].plan
    assert (plan.steps, plan.run_steps) == (8, run)


def test_data_uris_and_bare_base64_are_the_same_picture(site: Site) -> None:
    generate(site)
    bare = newest_start(site)
    generate(site, init_images=[f"data:image/png;base64,{encoded()}"])
    assert newest_start(site) == bare


def test_several_pictures_are_one_batch(site: Site) -> None:
    info = json.loads(generate(site, init_images=[encoded("red"), encoded("blue")], n_iter=2, seed=5)["info"])
    assert info["batch_size"] == 2 and info["all_seeds"] == [5, 6, 7, 8]
    assert len(set(newest_start(site).images)) == 2
    assert send(site, init_images=[encoded(), encoded()], batch_size=3).status_code == 422


def test_a_mask_with_a1111s_values(site: Site) -> None:
    text = infotext(
        site, mask=encoded("white"), mask_blur=8, inpainting_fill=2, inpaint_full_res=1, inpaint_full_res_padding=16,
        inpainting_mask_invert=1, denoising_strength=0.75,
    )  # fmt: skip
    start = newest_start(site)
    assert isinstance(start, FromMaskedImage)
    assert (start.mask_blur, start.content, start.area, start.padding, start.invert) == (
        8, "latent_noise", "masked", 16, True,
    )  # fmt: skip
    assert (
        "Denoising strength: 0.75, RNG: CPU, Mask mode: Inpaint not masked, Mask blur: 8, Inpaint area: Only masked, "
        "Masked area padding: 16, Masked content: latent noise" in text
    )
    facts = site.client.post("/sdapi/v1/png-info", json={"image": generate(site, mask=encoded())["images"][0]}).json()
    assert facts["parameters"]["Masked content"] == "fill"


def test_the_noise_multiplier_holds_for_one_request(site: Site) -> None:
    text = infotext(site, initial_noise_multiplier=1.2)
    assert site.studio.jobs(1)[0].plan.picture.noise_multiplier == 1.2 and "Noise multiplier: 1.2" in text
    assert "Noise multiplier" not in infotext(site)
    answer = send(site, initial_noise_multiplier=9)
    assert answer.status_code == 422 and "initial_noise_multiplier" in answer.json()["detail"]


def test_taesd_codes_pictures_for_one_request_if_it_is_there(site: Site) -> None:
    taesd = {"sd_vae_encode_method": "TAESD", "sd_vae_decode_method": "TAESD", "inpainting_mask_weight": 0.5}
    answer = send(site, override_settings=taesd)
    assert answer.status_code == 404
    assert "taesd_encoder.safetensors" in answer.json()["detail"] and "sd_vae_encode_method" in answer.json()["detail"]
    folder = site.config.models_dir / "VAE-approx"
    folder.mkdir(exist_ok=True)
    for half in ("encoder", "decoder"):
        (folder / f"taesd_{half}.safetensors").touch()
    try:
        text = infotext(site, override_settings=taesd, mask=encoded("white"))
    finally:
        for file in folder.iterdir():
            file.unlink()
    plan = site.studio.jobs(1)[0].plan
    assert (plan.taesd.encoder, plan.taesd.decoder) == (
        folder / "taesd_encoder.safetensors",
        folder / "taesd_decoder.safetensors",
    )
    assert "VAE Encoder: TAESD, VAE Decoder: TAESD" in text and "Conditional mask weight: 0.5" in text


def test_a_latent_mask_that_is_the_mask_changes_nothing(site: Site) -> None:
    generate(site, mask=encoded("white"), latent_mask=encoded("white"))
    assert isinstance(newest_start(site), FromMaskedImage)


def test_instruct_pix2pix_guidance_means_nothing_to_other_models(site: Site) -> None:
    assert "Image CFG scale" not in infotext(site, image_cfg_scale=1.5, mask_round=False)
    [note] = site.studio.jobs(1)[0].plan.notes
    assert "does not edit pictures" in note


def test_an_empty_mask_is_none(site: Site) -> None:
    generate(site, mask="")
    assert isinstance(newest_start(site), FromImage)


def test_kept_images_go_to_their_own_folder(site: Site) -> None:
    generate(site, save_images=True, seed=77)
    assert len(list((site.config.outputs_dir / "img2img-images").rglob("*-77.png"))) == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"init_images": []}, "init_images"),
        ({"init_images": None}, "init_images"),
        ({"init_images": ["http://127.0.0.1/a.png"]}, "init_images"),
        ({"init_images": ["file:///etc/passwd"]}, "init_images"),
        ({"init_images": ["!!!"]}, "init_images"),
        ({"mask": "https://example.org/mask.png"}, "mask"),
        ({"denoising_strength": 1.5}, "denoising_strength"),
        ({"resize_mode": 4}, "resize_mode"),
        ({"resize_mode": -1}, "resize_mode"),
        ({"mask": "AAAA", "inpainting_fill": 9}, "inpainting_fill"),
        ({"mask": "AAAA", "mask_blur": 65}, "mask_blur"),
        ({"mask": "AAAA", "mask_blur_x": 3}, "mask_blur_y"),
        ({"mask": "AAAA", "inpaint_full_res_padding": 1000}, "inpaint_full_res_padding"),
        ({"latent_mask": "AAAA"}, "latent_mask"),
        ({"mask": "AAAA", "mask_round": False}, "mask_round"),
        ({"mask": "AAAA", "alwayson_scripts": {"Soft Inpainting": {"args": [True, 2]}}}, "alwayson_scripts.Soft"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_stores_nothing(site: Site, fields: dict[str, Any], field: str) -> None:
    def stored() -> int:
        return len(list((site.config.state_dir / "inputs").rglob("*.png")))

    before = stored()
    answer = send(site, **{"init_images": [encoded("teal", (5, 5))], **fields})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(field)
    assert stored() == before


def test_a_file_that_is_no_picture_is_refused(site: Site) -> None:
    assert send(site, init_images=[base64.b64encode(b"<svg/>").decode()]).status_code == 422


def test_webuiapi(site: Site) -> None:
    with serve(site.app) as url:
        api = webuiapi.WebUIApi(baseurl=f"{url}/sdapi/v1")
        image, mask = Image.new("RGB", (64, 64), "red"), Image.new("L", (64, 64), 255)
        common = {"images": [image], "prompt": "a cat", "width": 64, "height": 64, "steps": 2}
        plain = api.img2img(**common, denoising_strength=0.4)
        assert plain.image.size == (64, 64) and "Denoising strength: 0.4" in plain.info["infotexts"][0]
        masked = api.img2img(**common, mask_image=mask, mask_blur=2, inpainting_fill=1, inpaint_full_res=False)
        assert "Mask blur: 2" in masked.info["infotexts"][0]


def test_v2_uploads_and_names_pictures(site: Site) -> None:
    content = base64.b64decode(encoded("green", (40, 30)))
    raw = site.client.post("/api/v2/inputs", content=content, headers={"Content-Type": "image/png"})
    form = site.client.post("/api/v2/inputs", files={"file": ("a.png", content, "image/png")})
    assert raw.status_code == form.status_code == 201
    assert raw.json() == form.json()
    assert (raw.json()["width"], raw.json()["height"]) == (40, 30)
    shown = site.client.get(f"/api/v2/inputs/{raw.json()['id']}")
    assert (shown.headers["content-type"], shown.headers["x-content-type-options"]) == ("image/png", "nosniff")
    assert Image.open(io.BytesIO(shown.content)).size == (40, 30)
    job = site.generate(start={"kind": "image", "images": [raw.json()["id"]], "strength": 0.3})
    assert job.state == "finished" and isinstance(job.request.start, FromImage)


def test_v2_refuses_what_is_not_there(site: Site) -> None:
    missing = {"kind": "image", "images": ["0" * 64]}
    answer = site.client.post("/api/v2/jobs", json={**SMALL, "start": missing})
    assert answer.status_code == 404 and answer.json()["detail"].startswith("start: ")
    for wrong in ({"kind": "image", "images": ["../../x"]}, {"kind": "image"}, {"kind": "scribble"},
                  {"kind": "image", "images": ["0" * 64], "mask": "0" * 64}):  # fmt: skip
        assert site.client.post("/api/v2/jobs", json={**SMALL, "start": wrong}).status_code == 422
    assert site.client.post("/api/v2/inputs", content=b"x", headers={"Content-Type": "image/png"}).status_code == 422
    for name in ("0" * 64, "..%2f..%2fsettings.json", "easel.db"):
        assert site.client.get(f"/api/v2/inputs/{name}").status_code == 404
