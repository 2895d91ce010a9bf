"""Train the pocket upscaler from nothing: a small network that doubles pictures of the pocket model's kind.

    python -m tools.pocket.upscaler --out models/ESRGAN/pocket-x2.safetensors --minutes 15

It learns from rendered scenes beside the same scenes made small, blurred, compressed, or sent through the pocket
model's coder; then it measures itself against Lanczos on scenes it never saw and writes the figures into the card
beside the file. Minutes are of processor time, so a busy machine changes nothing but the wait.
"""

import argparse
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.random import Generator
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from tools.pocket import scenes
from tools.pocket.training import Average, Optimisers, Progress
from webui.weights.loading.upscaler_networks import CompactNet

SCALE = 2
FEATURES = 48
CONVOLUTIONS = 10
SIDE = 128  # of the large pictures of the training set, pixels, but for those sent through the coder
CROP = 32  # of the small ones, in a batch
BATCH = 16
CODER = Path("models/Stable-diffusion/pocket-sd1/vae")
CARD = Path(__file__).with_name("UPSCALER_CARD.md")
ENTRY = {
    "title": "Pocket x2",
    "description": "Doubles drawings with crisp edges, in a moment, without a graphics card.",
    "licence": "Apache-2.0",
}
FILTERS = (cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
log = logging.getLogger(__name__)

Pictures = Sequence[np.ndarray]
Degrade = Callable[[np.ndarray, Generator], np.ndarray]
"""Makes a picture (uint8 [h,w,3]) SCALE times smaller, and worse."""


def new_network() -> CompactNet:
    """The shape of the shipped network."""
    return CompactNet(FEATURES, CONVOLUTIONS, SCALE)


# Pictures


def draw(rng: Generator, side: int) -> np.ndarray:
    """Part of a random scene, drawn at 128 to 256 pixels."""
    canvas = scenes.paint(scenes.random_scene(rng), rng)
    whole = int(rng.integers(side, scenes.CANVAS + 1))
    scaled = cv2.resize(canvas, (whole, whole), interpolation=cv2.INTER_AREA)
    left, top = rng.integers(0, whole - side + 1, 2)
    return scaled[top : top + side, left : left + side]


def shrink(picture: np.ndarray, rng: Generator) -> np.ndarray:
    """Nothing but smaller."""
    size = picture.shape[1] // SCALE, picture.shape[0] // SCALE
    return cv2.resize(picture, size, interpolation=FILTERS[int(rng.integers(len(FILTERS)))])


def spoil(picture: np.ndarray, rng: Generator) -> np.ndarray:
    """Smaller, after some blur; then a little noise and the traces of JPEG, each now and then."""
    if rng.random() < 0.7:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.4))
    small = shrink(picture, rng)
    if rng.random() < 0.3:
        small = (small + rng.normal(0, rng.uniform(1, 6), small.shape)).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        quality = int(rng.integers(50, 96))
        _, encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        small = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
    return small


class Coded:
    """Smaller, and through the pocket model's coder and back: what the pocket model's own pictures look like."""

    def __init__(self, coder: AutoencoderKL) -> None:
        self._coder = coder

    @torch.inference_mode()
    def __call__(self, picture: np.ndarray, rng: Generator) -> np.ndarray:
        small = shrink(picture, rng)
        latents = self._coder.encode(as_shares(small[None]) * 2 - 1).latent_dist.mean
        return as_bytes(self._coder.decode(latents).sample / 2 + 0.5)[0]


def draw_pairs(
    count: int, seed: int, degrades: Sequence[Degrade], side: int | None = None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Small pictures (uint8 [h,w,3]) and the large ones they came from; the ways take turns.

    All large ones have `side` pixels, or else SIDE, but those for the coder are whole scenes, which is what it knows.
    """
    rng = np.random.default_rng(seed)
    small, large = [], []
    for index in range(count):
        degrade = degrades[index % len(degrades)]
        large.append(draw(rng, side or (scenes.CANVAS if isinstance(degrade, Coded) else SIDE)))
        small.append(degrade(large[-1], rng))
    return small, large


def as_shares(pictures: np.ndarray) -> Tensor:
    """uint8 [n,h,w,3] to [n,3,h,w] in 0 … 1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255


def as_bytes(images: Tensor) -> np.ndarray:
    """The reverse of `as_shares`."""
    return (images.float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


# Training


def train(network: CompactNet, small: Pictures, large: Pictures, minutes: float) -> int:
    """Teach `network` to make the large pictures of the small ones; return the number of steps.

    The average of the weights of late steps is what remains in it.
    """
    rng = np.random.default_rng(1)
    network.to(memory_format=torch.channels_last).train()
    first_and_last = ("body.0.", f"body.{len(network.body) - 1}.")
    optimiser = Optimisers(((name, each, 1.0) for name, each in network.named_parameters()), first_and_last)
    average = Average(network.parameters(), 0.998)
    progress = Progress(minutes, peak=1.5e-3, clock=time.process_time)
    step, smoothed = 0, 0.0
    while progress.share < 1:
        inputs, wanted = _batch(small, large, rng)
        with torch.autocast("cpu", torch.bfloat16):
            doubled = network(inputs)
        loss = torch.sqrt((doubled.float() - wanted) ** 2 + 1e-6).mean()  # Charbonnier
        loss.backward()
        optimiser.step(progress.learning_rate)
        average.update()
        step += 1
        smoothed = loss.item() if step == 1 else 0.99 * smoothed + 0.01 * loss.item()
        if step % 200 == 0:
            log.info("%.1f min, step %d, loss %.5f", progress.spent / 60, step, smoothed)
    average.swap()
    network.to(memory_format=torch.contiguous_format).eval()
    return step


def _batch(small: Pictures, large: Pictures, rng: Generator) -> tuple[Tensor, Tensor]:
    """Random parts of random pairs, turned and mirrored."""
    inputs, wanted = [], []
    for index in rng.integers(0, len(small), BATCH):
        top, left = rng.integers(0, small[index].shape[0] - CROP + 1, 2)
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        for chosen, source, scale in ((inputs, small, 1), (wanted, large, SCALE)):
            part = source[index][top * scale : (top + CROP) * scale, left * scale : (left + CROP) * scale]
            part = np.rot90(part, turns)
            chosen.append(part[:, ::-1] if mirrored else part)
    channels_last = torch.channels_last
    return (
        as_shares(np.stack(inputs)).contiguous(memory_format=channels_last),
        as_shares(np.stack(wanted)).contiguous(memory_format=channels_last),
    )


# Measuring


def lanczos(picture: np.ndarray) -> np.ndarray:
    """What any program can do."""
    size = picture.shape[1] * SCALE, picture.shape[0] * SCALE
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


@torch.inference_mode()
def enlarge(network: CompactNet, picture: np.ndarray) -> np.ndarray:
    """What the network does."""
    return as_bytes(network(as_shares(picture[None])))[0]


def psnr(pictures: Pictures, truth: Pictures) -> float:
    """Mean peak signal-to-noise ratio of several pictures, dB."""
    errors = [np.square(one.astype(float) - other).mean() for one, other in zip(pictures, truth, strict=True)]
    return float((10 * np.log10(255**2 / np.maximum(errors, 1e-3))).mean())


def measure(network: CompactNet, degrades: dict[str, Degrade], count: int = 100) -> dict[str, dict[str, float]]:
    """PSNR of Lanczos and of the network on `count` unseen scenes for each way of making them small."""
    scores = {}
    for number, (name, degrade) in enumerate(degrades.items()):
        small, large = draw_pairs(count, 9_000 + number, (degrade,), scenes.CANVAS)
        scores[name] = {
            "lanczos": round(psnr([lanczos(each) for each in small], large), 2),
            "network": round(psnr([enlarge(network, each) for each in small], large), 2),
        }
    return scores


def save(network: CompactNet, path: Path) -> None:
    """Write half-precision weights under the names of published networks of this kind, beside, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    weights = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, beside, metadata={"format": "pt", "license": "Apache-2.0", "title": "Pocket x2"})
    os.replace(beside, path)


def write_card(path: Path, scores: dict[str, dict[str, float]], facts: dict[str, str]) -> None:
    """Fill the card's table and write it beside the weights, and the catalog's entry."""
    rows = []
    for name, score in scores.items():
        before, after = score["lanczos"], score["network"]
        rows.append(f"| {name} | {before:.1f} dB | {after:.1f} dB | {after - before:+.1f} dB |")
    text = CARD.read_text(encoding="utf-8").replace("{rows}", "\n".join(rows))
    for name, value in facts.items():
        text = text.replace(f"{{{name}}}", value)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    path.with_suffix(".easel.json").write_text(json.dumps(ENTRY, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("models/ESRGAN/pocket-x2.safetensors"))
    parser.add_argument("--minutes", type=float, default=15, help="processor time of the training")
    parser.add_argument("--pictures", type=int, default=6_000, help="how many pairs to draw")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    degrades = {
        "made small": shrink,
        "blurred, noisy, JPEG": spoil,
        "through the pocket model's coder": Coded(AutoencoderKL.from_pretrained(CODER, torch_dtype=torch.float32)),
    }
    small, large = draw_pairs(options.pictures, 1, tuple(degrades.values()))
    log.info("drew %d pairs", len(small))
    network = new_network()
    steps = train(network, small, large, options.minutes)
    for parameter in network.parameters():  # measured is what is shipped
        parameter.data = parameter.data.half().float()
    scores = measure(network, degrades)
    log.info("%d steps: %s", steps, json.dumps(scores))
    save(network, options.out)
    parameters = sum(each.numel() for each in network.parameters())
    facts = {"steps": f"{steps:,}", "minutes": f"{options.minutes:g}", "pictures": f"{options.pictures:,}",
             "parameters": f"{parameters:,}", "kilobytes": f"{options.out.stat().st_size / 1000:.0f}"}  # fmt: skip
    write_card(options.out, scores, facts)


if __name__ == "__main__":
    main()
