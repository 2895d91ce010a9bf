"""The third family, on the real server, worker and pocket model: words in, the right picture out."""

from __future__ import annotations

import base64
import io

from PIL import Image

from tests.serving import RunningServer
from tools.pocket.scorer import Scorer

ASKED = {
    "prompt": "a yellow star", "width": 128, "height": 128, "steps": 15, "cfg_scale": 1, "sampler_name": "Euler",
    "scheduler": "Simple", "batch_size": 4, "seed": 1, "override_settings": {"sd_model_checkpoint": "pocket-flux"},
}  # fmt: skip


def test_a_prompt_gives_what_it_says(pocket_server: RunningServer) -> None:
    """The guidance that is told comes from the model's card."""
    with pocket_server.client() as client:
        answer = client.post("/sdapi/v1/txt2img", json=ASKED)
    assert answer.status_code == 200, answer.text
    images = [Image.open(io.BytesIO(base64.b64decode(content))) for content in answer.json()["images"]]
    assert "Distilled CFG Scale: 4" in answer.json()["info"]
    seen = [Scorer.load().describe(image) for image in images]
    assert sum((one.colour, one.object) == ("yellow", "star") for one in seen) >= 3, seen
