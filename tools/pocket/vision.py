"""Train the pocket CLIP's eyes: a small vision tower whose one vector tells what a picture shows.

    python -m tools.pocket.vision --minutes 8

Not by contrast with captions but by exact labels, like the caption encoder: linear readers of the projected vector tell
what is drawn, in which colours, before what; readers of the patches tell what covers them, which speeds it up.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from tools.pocket import adapters, dataset, scenes
from tools.pocket.adapters import write_card
from tools.pocket.denoiser import READ_CLASSES
from tools.pocket.scorer import JUDGED

WIDTH = 128
SIDE, PATCH = 64, 8  # pixels
BATCH = 64
MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's
CARD = Path(__file__).with_name("VISION_CARD.md")
TITLE = "Pocket CLIP vision"
log = logging.getLogger(__name__)


def new_tower() -> CLIPVisionModelWithProjection:
    """Width 128, four layers, two heads (width / 64, as in real CLIP), 64 patches of 8×8 pixels."""
    config = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=4, num_attention_heads=WIDTH // 64,
        image_size=SIDE, patch_size=PATCH, projection_dim=WIDTH, hidden_act="quick_gelu",
    )  # fmt: skip
    return CLIPVisionModelWithProjection(config)


def shrink(pictures: np.ndarray) -> Tensor:
    """uint8 [n, h, w, 3] to what the tower looks at, [n, 3, 64, 64], as 8-bit numbers."""
    images = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float()
    small = F.interpolate(images, size=(SIDE, SIDE), mode="bicubic", antialias=True)
    return small.clamp(0, 255).round().byte()


def normalise(images: Tensor) -> Tensor:
    """8-bit numbers as CLIP wants them."""
    mean, spread = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, SPREAD))
    return (images.float() / 255 - mean) / spread


@torch.no_grad()
def look(tower: CLIPVisionModelWithProjection, pictures: np.ndarray) -> Tensor:
    """The vectors of pictures: [n, 128]."""
    parts = [shrink(pictures[at : at + 100]) for at in range(0, len(pictures), 100)]
    return torch.cat([tower(normalise(part)).image_embeds for part in parts])


class Readers(nn.Module):
    """Linear readers, not shipped: of the vector for what is shown, of the patches for what covers them."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = [len(scenes.LABELS[name]) + 1 for name in JUDGED]
        self.whole = nn.Linear(WIDTH, sum(self.sizes))
        self.patch = nn.Linear(WIDTH, READ_CLASSES)

    def labels(self, vectors: Tensor) -> tuple[Tensor, ...]:
        """Scores for each judged label."""
        return self.whole(vectors).split(self.sizes, 1)


def train(tower: CLIPVisionModelWithProjection, readers: Readers, known: dataset.Dataset, minutes: float) -> int:
    """Teach the tower what the scenes show; returns the number of steps."""
    small = torch.cat([shrink(known.pictures[at : at + 500]) for at in range(0, len(known.pictures), 500)])
    truth = torch.from_numpy(_judged(known.shown))
    cells = SIDE // PATCH
    covers = F.max_pool2d(torch.from_numpy(known.covers).float()[:, None], 16 // cells)[:, 0].long().flatten(1)

    def error() -> Tensor:
        chosen = torch.randint(0, len(small), (BATCH,))
        images = normalise(small[chosen])
        images = images * (1 + 0.1 * torch.randn(BATCH, 1, 1, 1)) + 0.1 * torch.rand(1) * torch.randn_like(images)
        with torch.autocast("cpu", torch.bfloat16):
            seen = tower(images)
            scores, patches = readers.labels(seen.image_embeds), readers.patch(seen.last_hidden_state[:, 1:])
        told = sum(
            (F.cross_entropy(score.float(), truth[chosen, k]) for k, score in enumerate(scores)), torch.zeros(())
        )
        return told + F.cross_entropy(patches.float().flatten(0, 1), covers[chosen].flatten())

    named = [
        (f"{part}.{name}", p)
        for part, m in (("tower", tower), ("readers", readers))
        for name, p in m.named_parameters()
    ]
    first_and_last = ("embedding", "readers")
    return adapters.teach(named, error, minutes, first_and_last=first_and_last, decay=0.99, every=100)


def _judged(shown: np.ndarray) -> np.ndarray:
    columns = [list(scenes.LABELS).index(name) for name in JUDGED]
    return shown[:, columns].astype(np.int64)


def measure(tower: CLIPVisionModelWithProjection, readers: Readers, count: int = 1000) -> dict[str, str]:
    """Share of right labels that the readers tell of scenes never seen."""
    pictures, _, shown, _ = scenes.draw_chunk(888_001, count)
    with torch.no_grad():
        scores = readers.labels(look(tower, pictures))
    truth = _judged(shown)
    return {
        name: f"{(score.argmax(1).numpy() == truth[:, k]).mean():.1%}"
        for k, (name, score) in enumerate(zip(JUDGED, scores, strict=True))
    }


def save(tower: CLIPVisionModelWithProjection, folder: Path) -> None:
    """As transformers keeps it, in half precision, with the way to prepare pictures."""
    tower.half().save_pretrained(folder)
    tower.float()
    prepare = {
        "image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": SIDE}, "resample": 3,
        "do_center_crop": True, "crop_size": {"height": SIDE, "width": SIDE}, "do_rescale": True,
        "do_normalize": True, "image_mean": MEAN, "image_std": SPREAD, "do_convert_rgb": True,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(prepare, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("models/clip_vision/pocket-clip-vision"))
    parser.add_argument("--scenes", type=Path, default=Path("pocket-scenes"), help="where the drawn scenes are kept")
    parser.add_argument("--count", type=int, default=12_000, help="how many scenes")
    parser.add_argument("--minutes", type=float, default=8, help="processor time of the training")
    options = parser.parse_args()
    adapters.begin()
    known = dataset.build(options.scenes, options.count, adapters.SCENES_SEED, like=adapters.BASE)
    tower, readers = new_tower(), Readers()
    steps = train(tower, readers, known, options.minutes)
    save(tower, options.out)
    scores = measure(tower, readers)
    log.info("%d steps: %s", steps, scores)
    facts = scores | {
        "steps": f"{steps:,}", "minutes": f"{options.minutes:g}", "count": f"{options.count:,}",
        "parameters": f"{sum(each.numel() for each in tower.parameters()):,}",
        "kilobytes": adapters.kilobytes(options.out / "model.safetensors"),
    }  # fmt: skip
    entry = {"title": TITLE, "description": "What the pocket IP-Adapter sees pictures with."}
    write_card(options.out / "README", CARD, facts, entry)
    (options.out / "README.easel.json").rename(options.out / "easel.json")


if __name__ == "__main__":
    main()
