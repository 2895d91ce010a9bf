"""The main job, on the real server, worker and pocket model: words in, the right picture out."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image, ImageDraw

from tests.serving import RunningServer
from tools.pocket.scorer import Scorer


def generate(server: RunningServer, **fields: object) -> tuple[list[Image.Image], dict[str, object]]:
    with server.client() as client:
        answer = client.post(
            "/sdapi/v1/txt2img", json={"width": 128, "height": 128, "steps": 20, "cfg_scale": 5, **fields}
        )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    images = [Image.open(io.BytesIO(base64.b64decode(content))) for content in body["images"]]
    return images, json.loads(body["info"])


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer.load()


@pytest.mark.parametrize(
    ("colour", "name"), [("red", "house"), ("blue", "circle"), ("yellow", "star"), ("green", "tree")]
)
def test_a_prompt_gives_what_it_says(pocket_server: RunningServer, scorer: Scorer, colour: str, name: str) -> None:
    images, _ = generate(pocket_server, prompt=f"a {colour} {name}", seed=1, batch_size=6)
    seen = [scorer.describe(image) for image in images]
    assert sum(one.colour == colour for one in seen) >= 5, seen
    assert sum(one.object == name for one in seen) >= 4, seen


def test_the_same_seed_gives_the_same_picture(pocket_server: RunningServer) -> None:
    first, _ = generate(pocket_server, prompt="a red circle", seed=7)
    again, _ = generate(pocket_server, prompt="a red circle", seed=7)
    other, _ = generate(pocket_server, prompt="a red circle", seed=8)
    assert first[0].tobytes() == again[0].tobytes() != other[0].tobytes()


def test_image_k_of_a_batch_is_the_single_image_of_seed_plus_k(pocket_server: RunningServer) -> None:
    batch, info = generate(pocket_server, prompt="a blue boat at sea", seed=20, batch_size=2, n_iter=2)
    assert info["all_seeds"] == [20, 21, 22, 23]
    single, _ = generate(pocket_server, prompt="a blue boat at sea", seed=22)
    differences = [abs(a - b) for a, b in zip(batch[2].tobytes(), single[0].tobytes(), strict=True)]
    assert max(differences) <= 8, "arithmetic in batches may round, the picture must not change"


def test_the_infotext_makes_the_picture_again(pocket_server: RunningServer) -> None:
    images, info = generate(pocket_server, prompt="a yellow moon, night sky", negative_prompt="red", seed=5)
    text = images[0].info["parameters"]
    assert text == info["infotexts"][0]
    with pocket_server.client() as client:
        picture = _png(images[0], text)
        facts = client.post("/api/v2/png-info", content=picture, headers={"Content-Type": "image/png"})
        assert facts.status_code == 200, facts.text
        job = client.post("/api/v2/jobs", json=facts.json()["request"]).json()
        with client.stream("GET", f"/api/v2/jobs/{job['id']}/events") as events:
            assert "finished" in [line.removeprefix("event: ") for line in events.iter_lines()]
        again = Image.open(io.BytesIO(client.get(f"/api/v2/jobs/{job['id']}/images/0").content))
    assert again.tobytes() == images[0].tobytes()


def test_inpainting_through_the_api_changes_the_masked_object_only(
    pocket_server: RunningServer, scorer: Scorer
) -> None:
    before = Image.new("RGB", (128, 128), (250, 250, 250))
    ImageDraw.Draw(before).ellipse((40, 40, 88, 88), fill=(220, 30, 30))
    mask = Image.new("L", before.size)
    ImageDraw.Draw(mask).rectangle((34, 34, 94, 94), fill=255)
    fields = {
        "init_images": [base64.b64encode(_png(before, "")).decode()], "mask": base64.b64encode(_png(mask, "")).decode(),
        "denoising_strength": 1.0, "inpainting_fill": 0, "inpaint_full_res": False, "mask_blur": 1,
        "width": 128, "height": 128, "steps": 20, "cfg_scale": 5, "seed": 3, "batch_size": 4,
    }  # fmt: skip
    with pocket_server.client() as client:
        answer = client.post("/sdapi/v1/img2img", json={"prompt": "a blue circle, white background", **fields})
    assert answer.status_code == 200, answer.text
    images = [Image.open(io.BytesIO(base64.b64decode(content))) for content in answer.json()["images"]]
    assert sum(scorer.describe(image).colour == "blue" for image in images) >= 3
    for image in images:
        for box in ((0, 0, 128, 28), (0, 100, 128, 128), (0, 0, 28, 128), (100, 0, 128, 128)):
            assert image.crop(box).tobytes() == before.crop(box).tobytes()


def test_a_second_pass_through_the_api(pocket_server: RunningServer, scorer: Scorer) -> None:
    images, info = generate(
        pocket_server, prompt="a red circle, white background", seed=100, steps=12, enable_hr=True, hr_scale=1.5,
        hr_upscaler="Lanczos", hr_second_pass_steps=4, denoising_strength=0.4,
    )  # fmt: skip
    assert images[0].size == (192, 192)
    seen = scorer.describe(images[0])
    assert (seen.colour, seen.object) == ("red", "circle")
    assert "Hires steps: 4" in info["infotexts"][0]


def test_outpainting_through_the_api(pocket_server: RunningServer, scorer: Scorer) -> None:
    picture = generate(pocket_server, prompt="a yellow star, night sky", seed=101, steps=12)[0][0]
    with pocket_server.client() as client:
        stored = client.post("/api/v2/inputs", content=_png(picture, ""), headers={"Content-Type": "image/png"}).json()
        start = {"kind": "extended_image", "images": [stored["id"]], "left": 64, "overlap": 8}
        asked = {"prompt": "a yellow star, night sky", "seed": 102, "steps": 12, "guidance": 5, "start": start}
        job = client.post("/api/v2/jobs", json=asked).json()
        with client.stream("GET", f"/api/v2/jobs/{job['id']}/events") as events:
            assert "finished" in [line.removeprefix("event: ") for line in events.iter_lines()]
        made = Image.open(io.BytesIO(client.get(f"/api/v2/jobs/{job['id']}/images/0").content))
    assert made.size == (192, 128)
    assert made.crop((72, 0, 192, 128)).tobytes() == picture.crop((8, 0, 128, 128)).tobytes()
    assert scorer.describe(made.crop((0, 0, 128, 128))).background == "night"


def test_kept_images_lie_where_a1111_puts_them(pocket_server: RunningServer) -> None:
    generate(pocket_server, prompt="a pink heart", seed=99, save_images=True)
    found = list((pocket_server.outputs / "txt2img-images").rglob("*-99.png"))
    assert len(found) == 1
    with Image.open(found[0]) as kept:
        assert "a pink heart" in kept.info["parameters"]


def _png(image: Image.Image, parameters: str) -> bytes:
    from PIL.PngImagePlugin import PngInfo

    facts = PngInfo()
    facts.add_text("parameters", parameters)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=facts)
    return buffer.getvalue()
