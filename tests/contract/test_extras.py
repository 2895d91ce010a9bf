"""A1111's extra-single-image and extra-batch-images, as its clients send them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from tests.api.site import Site, open_site
from webui.api.a1111.schemas.pictures import ExtrasSingleImageRequest
from webui.domain.plan import UpscalePlan


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("site")) as opened:
        yield opened


def encoded(colour: str = "red", size: tuple[int, int] = (64, 48), infotext: str = "") -> str:
    buffer = io.BytesIO()
    texts = PngImagePlugin.PngInfo()
    if infotext:
        texts.add_text("parameters", infotext)
    Image.new("RGB", size, colour).save(buffer, "PNG", pnginfo=texts)
    return base64.b64encode(buffer.getvalue()).decode()


def send(site: Site, **fields: Any) -> Any:
    return site.client.post("/sdapi/v1/extra-single-image", json={"image": encoded(), **fields})


def enlarge(site: Site, **fields: Any) -> tuple[UpscalePlan, dict[str, Any]]:
    answer = send(site, **fields)
    assert answer.status_code == 200, answer.text
    plan = site.studio.jobs(1)[0].plan
    assert isinstance(plan, UpscalePlan)
    return plan, answer.json()


def test_defaults_are_a1111s() -> None:
    asked = ExtrasSingleImageRequest()
    assert (asked.resize_mode, asked.upscaling_resize, asked.upscaling_crop) == (0, 2, True)
    assert (asked.upscaling_resize_w, asked.upscaling_resize_h) == (512, 512)
    assert (asked.upscaler_1, asked.upscaler_2, asked.extras_upscaler_2_visibility) == ("None", "None", 0)


def test_by_a_factor(site: Site) -> None:
    plan, answer = enlarge(site, upscaler_1="Lanczos", upscaling_resize="1.5")
    assert (plan.upscaler.name, plan.scale, plan.width, plan.second_upscaler) == ("Lanczos", 1.5, None, None)
    assert answer["html_info"] == "<p>Postprocess upscale by: 1.5, Postprocess upscaler: Lanczos</p>"
    assert Image.open(io.BytesIO(base64.b64decode(answer["image"], validate=True))).format == "PNG"
    assert not plan.keep


def test_to_a_size_with_a_second_upscaler(site: Site) -> None:
    plan, answer = enlarge(
        site, resize_mode=1, upscaling_resize_w=200, upscaling_resize_h=100, upscaling_crop=False, upscaler_1="Lanczos",
        upscaler_2="Nearest", extras_upscaler_2_visibility=0.25,
    )  # fmt: skip
    assert (plan.width, plan.height, plan.crop) == (200, 100, False)
    assert plan.second_upscaler is not None
    assert (plan.second_upscaler.name, plan.second_share) == ("Nearest", 0.25)
    assert answer["html_info"] == (
        "<p>Postprocess upscale to: 200x100, Postprocess upscaler: Lanczos, Postprocess upscaler 2: Nearest</p>"
    )


def test_without_an_upscaler_the_picture_stays_as_it_is(site: Site) -> None:
    plan, answer = enlarge(site)
    assert (plan.upscaler.name, plan.scale, answer["html_info"]) == ("None", 1, "<p></p>")


def test_a_second_upscaler_that_is_not_seen_is_none(site: Site) -> None:
    assert enlarge(site, upscaler_1="Lanczos", upscaler_2="No such")[0].second_upscaler is None


def test_what_a_picture_says_is_kept(site: Site) -> None:
    text = "a cat\nSteps: 5, Sampler: Euler, CFG scale: 7, Seed: 3, Size: 64x48"
    plan, _ = enlarge(site, image=encoded(infotext=text), upscaler_1="Lanczos")
    assert plan.images[0].infotext == text


def test_openoutpaint_sends_text_and_a_misspelt_name(site: Site) -> None:
    plan, _ = enlarge(site, **{"resize-mode": 0, "resize_mode": "0", "upscaling_resize": "2", "upscaler_1": "Lanczos"})
    assert plan.scale == 2
    answer = site.client.post("/sdapi/v1/extra-single-image/", json={"image": f"data:image/png;base64,{encoded()}"})
    assert answer.status_code == 200


def test_a_batch_keeps_its_order(site: Site) -> None:
    pictures = [{"data": encoded(colour), "name": f"{colour}.png"} for colour in ("red", "green", "blue")]
    answer = site.client.post("/sdapi/v1/extra-batch-images", json={"imageList": pictures, "upscaler_1": "Nearest"})
    assert answer.status_code == 200, answer.text
    assert len(set(answer.json()["images"])) == 3
    plan = site.studio.jobs(1)[0].plan
    assert isinstance(plan, UpscalePlan)
    stored = [Image.open(site.studio.input_path(image.picture)).getpixel((0, 0)) for image in plan.images]
    assert stored == [(255, 0, 0), (0, 128, 0), (0, 0, 255)]


@pytest.mark.parametrize(
    ("fields", "status", "named"),
    [
        ({"image": ""}, 422, "image"),
        ({"image": "!!!"}, 422, "image: "),
        ({"image": "http://127.0.0.1/a.png"}, 422, "image: "),
        ({"image": base64.b64encode(b"<svg/>").decode()}, 422, "image"),
        ({"gfpgan_visibility": 1}, 422, "gfpgan_visibility: Easel has no face restoration"),
        ({"codeformer_visibility": 0.5}, 422, "codeformer_visibility: "),
        ({"resize_mode": 2}, 422, "resize_mode"),
        ({"upscaling_resize": 0}, 422, "upscaling_resize"),
        ({"upscaling_resize": -1}, 422, "upscaling_resize"),
        ({"upscaling_resize": "nan"}, 422, "upscaling_resize"),
        ({"upscaler_1": "Lanczos", "upscaling_resize": 100}, 422, "upscaling_resize: "),
        ({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 10**9}, 422, "upscaling_resize_w: "),
        ({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_h": 0}, 422, "upscaling_resize_h"),
        ({"extras_upscaler_2_visibility": 2}, 422, "extras_upscaler_2_visibility"),
        ({"upscaler_1": "No such"}, 404, "upscaler_1: Upscaler not found"),
        ({"upscaler_1": "Lanczos", "upscaler_2": "No such", "extras_upscaler_2_visibility": 1}, 404, "upscaler_2: "),
        ({"upscaler_1": "Latent"}, 422, "upscaler_1: "),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_queued(
    site: Site, fields: dict[str, Any], status: int, named: str
) -> None:
    jobs = site.studio.jobs(500)
    answer = send(site, **fields)
    assert answer.status_code == status, answer.text
    assert named in str(answer.json()["detail"])
    assert site.studio.jobs(500) == jobs


@pytest.mark.parametrize("pictures", [None, [], [{"name": "x"}], [{"data": "!!!"}], "x", [{"data": ""}]])
def test_a_batch_without_pictures_is_refused(site: Site, pictures: object) -> None:
    jobs = site.studio.jobs(500)
    answer = site.client.post("/sdapi/v1/extra-batch-images", json={"imageList": pictures, "upscaler_1": "Lanczos"})
    assert answer.status_code == 422 and "imageList" in str(answer.json()["detail"])
    assert site.studio.jobs(500) == jobs


def test_nothing_here_describes_pictures(site: Site) -> None:
    answer = site.client.post("/sdapi/v1/interrogate", json={"image": encoded(), "model": "clip"})
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("Model not found") and "png-info" in answer.json()["detail"]
