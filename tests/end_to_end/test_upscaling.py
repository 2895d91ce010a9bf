"""Pictures made larger on the real server, by the upscaler that is there from the start."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.serving import RunningServer
from tools.pocket import scenes
from tools.pocket.scorer import Scorer
from tools.pocket.upscaler import lanczos, psnr

SHIPPED = Path("models/ESRGAN/pocket-x2.safetensors")
INFOTEXT = "a red house, night sky\nSteps: 20, Sampler: Euler, CFG scale: 5, Seed: 3, Size: 128x128"


def stored(server: RunningServer, image: Image.Image) -> str:
    """Upload a picture and return its reference."""
    text, buffer = PngInfo(), io.BytesIO()
    text.add_text("parameters", INFOTEXT)
    image.save(buffer, "PNG", pnginfo=text)
    with server.client() as client:
        answer = client.post("/api/v2/inputs", content=buffer.getvalue(), headers={"Content-Type": "image/png"})
    assert answer.status_code in (200, 201), answer.text
    return str(answer.json()["id"])


def run(server: RunningServer, request: dict[str, Any]) -> tuple[list[Image.Image], dict[str, Any]]:
    """Run a job to its end; return its pictures and what is known of it."""
    with server.client() as client:
        answer = client.post("/api/v2/jobs", json=request)
        assert answer.status_code in (200, 201, 202), answer.text
        job = answer.json()
        with client.stream("GET", f"/api/v2/jobs/{job['id']}/events") as events:
            assert "finished" in [line.removeprefix("event: ") for line in events.iter_lines()]
        job = client.get(f"/api/v2/jobs/{job['id']}").json()
        contents = [client.get(f"/api/v2/jobs/{job['id']}/images/{each['index']}").content for each in job["images"]]
    return [Image.open(io.BytesIO(content)) for content in contents], job


@pytest.fixture(scope="module")
def server(pocket_server: RunningServer) -> RunningServer:
    """The pocket server, after the shipped upscaler was put among its models."""
    folder = pocket_server.data_dir / "models" / "ESRGAN"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(SHIPPED, folder)
    with pocket_server.client() as client:
        assert client.post("/sdapi/v1/refresh-checkpoints").status_code == 200
        assert "pocket-x2" in [each["name"] for each in client.get("/sdapi/v1/upscalers").json()]
    return pocket_server


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """A scene at 256×256."""
    rng = np.random.default_rng(2024)
    return scenes.paint(scenes.random_scene(rng), rng)


@pytest.fixture(scope="module")
def small(scene: np.ndarray) -> Image.Image:
    return Image.fromarray(scene).resize((128, 128), Image.Resampling.BOX)


def test_the_shipped_upscaler_beats_lanczos_and_the_infotext_stays(
    server: RunningServer, scene: np.ndarray, small: Image.Image
) -> None:
    request = {
        "kind": "upscale", "images": [stored(server, small)] * 2, "infotexts": [INFOTEXT, ""],
        "upscaler": "pocket-x2", "scale": 2,
    }  # fmt: skip
    images, job = run(server, request)
    assert [image.size for image in images] == [(256, 256)] * 2
    plain = psnr([lanczos(np.asarray(small))], [scene])
    assert psnr([np.asarray(images[0])], [scene]) > plain + 4
    assert images[0].info["parameters"] == f"{INFOTEXT}, Postprocess upscale by: 2, Postprocess upscaler: pocket-x2"
    assert images[1].info["parameters"] == "Postprocess upscale by: 2, Postprocess upscaler: pocket-x2"
    paths = [Path(image["path"]) for image in job["images"]]
    assert {path.parent.as_posix() for path in paths} == {"extras-images"}
    assert int(paths[1].stem) == int(paths[0].stem) + 1, "others may have enlarged pictures before"


def test_a_second_pass_can_go_through_it(server: RunningServer) -> None:
    request = {
        "prompt": "a red circle, white background", "seed": 5, "width": 128, "height": 128, "steps": 12, "guidance": 5,
        "hires": {"upscaler": "pocket-x2", "scale": 2, "strength": 0.3, "steps": 3},
    }  # fmt: skip
    images, _ = run(server, request)
    assert images[0].size == (256, 256)
    seen = Scorer.load().describe(images[0])
    assert (seen.object, seen.colour) == ("circle", "red")
    assert "Hires upscaler: pocket-x2" in images[0].info["parameters"]


def test_sd_upscale_paints_every_tile(server: RunningServer, small: Image.Image) -> None:
    start = {
        "kind": "tiles", "images": [stored(server, small)], "upscaler": "pocket-x2", "factor": 2,
        "overlap": 64, "strength": 0.25,
    }  # fmt: skip
    request = {"prompt": "", "seed": 5, "width": 128, "height": 128, "steps": 12, "guidance": 1, "start": start}
    images, job = run(server, request)
    assert images[0].size == (256, 256)
    assert job["plan"]["tiles"]["count"] == 9
    enlarged, _ = run(server, {"kind": "upscale", "images": start["images"], "upscaler": "pocket-x2", "scale": 2})
    assert 20 < psnr([np.asarray(images[0])], [np.asarray(enlarged[0])]) < 40, "painted, and still the same picture"
