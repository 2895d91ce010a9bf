"""The second family, on the real server, worker and pocket model: words in, the right picture out."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from tests.serving import RunningServer
from tools.pocket.scorer import Scorer

SETTINGS = {
    "width": 128, "height": 128, "steps": 15, "cfg_scale": 5, "seed": 1,
    "override_settings": {"sd_model_checkpoint": "pocket-sdxl"},
}  # fmt: skip


def generate(server: RunningServer, **fields: object) -> list[Image.Image]:
    with server.client() as client:
        answer = client.post("/sdapi/v1/txt2img", json={**SETTINGS, **fields})
    assert answer.status_code == 200, answer.text
    return [Image.open(io.BytesIO(base64.b64decode(content))) for content in answer.json()["images"]]


@pytest.mark.parametrize(("colour", "name"), [("red", "circle"), ("yellow", "star"), ("purple", "cat")])
def test_a_prompt_gives_what_it_says(pocket_server: RunningServer, colour: str, name: str) -> None:
    images = generate(pocket_server, prompt=f"a {colour} {name}", batch_size=4)
    seen = [Scorer.load().describe(image) for image in images]
    assert sum(one.colour == colour for one in seen) >= 3, seen
    assert sum(one.object == name for one in seen) >= 3, seen


def test_a_negative_prompt_takes_a_colour_away(pocket_server: RunningServer) -> None:
    images = generate(pocket_server, prompt="a circle, white background", negative_prompt="red", batch_size=4)
    seen = [Scorer.load().describe(image) for image in images]
    assert not any(one.colour == "red" for one in seen), seen


def test_the_families_do_not_share_latents(pocket_server: RunningServer) -> None:
    with pocket_server.client() as client:
        refiner = {"refiner_checkpoint": "pocket-sd1", "refiner_switch_at": 0.8}
        answer = client.post("/sdapi/v1/txt2img", json={**SETTINGS, "prompt": "a cat", **refiner})
    assert answer.status_code == 422, answer.text
    assert "sdxl" in answer.text and "sd1" in answer.text
