"""Train a pocket ControlNet: the pocket model draws what it is shown as edges or as a scribble.

    python -m tools.pocket.control canny --minutes 15
    python -m tools.pocket.control scribble --minutes 7 --start models/ControlNet/pocket-canny-sd1.safetensors

The pictures are rendered scenes; half of the captions are left out or name nothing but a colour, so that the network
has to take the shapes from the control.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import ControlNetModel
from numpy.random import Generator
from safetensors.torch import load_file
from torch import Tensor

from tools.pocket import adapters, scenes, tokenizer
from tools.pocket.adapters import Scenes, draw, noise_error
from tools.pocket.evaluate import Model
from tools.pocket.scorer import JUDGED, Scorer
from tools.pocket.unet import Noising, PlainAttention

WIDTHS = (16, 32, 64, 64)  # of the layers that read the control, at 1, 1/2, 1/4 and 1/8 of its size
BATCH = 32
CARD = Path(__file__).with_name("CONTROL_CARD.md")
TEST = 40  # pictures
log = logging.getLogger(__name__)

# Controls


def canny(picture: np.ndarray, low: int = 100, high: int = 200) -> np.ndarray:
    """White edges, one pixel wide, on black: uint8 [h, w], as the preprocessor of the same name makes them."""
    return cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), low, high)


def varied_canny(picture: np.ndarray, rng: Generator) -> np.ndarray:
    """With thresholds as users choose them."""
    low = int(rng.integers(30, 130))
    return canny(picture, low, int(low * rng.uniform(1.5, 2.5)))


def xdog(picture: np.ndarray, sigma: float = 1.0, sharpness: float = 20.0, threshold: float = 0.1) -> np.ndarray:
    """White lines on black by a difference of Gaussians: uint8 [h, w] (Winnemöller et al. 2012, XDoG, eq. 7)."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    fine, coarse = cv2.GaussianBlur(gray, (0, 0), sigma), cv2.GaussianBlur(gray, (0, 0), 1.6 * sigma)
    lines = np.clip((np.abs(fine - coarse) * sharpness - threshold) * 2, 0, 1)
    return ((lines > 0.5) * 255).astype(np.uint8)


def scribble(picture: np.ndarray, rng: Generator) -> np.ndarray:
    """Thick, shaky white strokes on black along the outlines of a picture: uint8 [h, w]."""
    lines = xdog(picture, rng.uniform(0.8, 1.6)) if rng.random() < 0.5 else _strokes(picture, rng)
    return _shake(lines, rng)


def _strokes(picture: np.ndarray, rng: Generator) -> np.ndarray:
    """Edges, thickened; short ones are passed over, as a hand would."""
    found, _ = cv2.findContours(varied_canny(picture, rng), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    board = np.zeros(picture.shape[:2], np.uint8)
    for line in found:
        if cv2.arcLength(line, False) > 24:
            cv2.polylines(board, [line], False, 255, int(rng.integers(2, 5)), cv2.LINE_AA)
    return ((board > 127) * 255).astype(np.uint8)


def _shake(lines: np.ndarray, rng: Generator) -> np.ndarray:
    """Moved here and there by up to two pixels."""
    height, width = lines.shape
    shifts = [cv2.resize(rng.normal(0, 1, (7, 7)).astype(np.float32), (width, height)) for _ in range(2)]
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    strength = rng.uniform(0, 1.5)
    moved = cv2.remap(lines, xs + strength * shifts[0], ys + strength * shifts[1], cv2.INTER_LINEAR)
    return ((moved > 100) * 255).astype(np.uint8)


@dataclass(frozen=True)
class Sort:
    """One of the two ControlNets."""

    name: str
    title: str
    make: Callable[[np.ndarray, Generator], np.ndarray]
    description: str
    reach: int  # pixels by which edges of a result may miss those of the control


SORTS = {
    "canny": Sort("canny", "Pocket Canny", varied_canny, "Pocket SD1 draws along given edges (Canny).", 1),
    "scribble": Sort("scribble", "Pocket Scribble", scribble, "Pocket SD1 makes a picture of a scribble.", 2),
}


def make_all(sort: Sort, pictures: np.ndarray, seed: int) -> np.ndarray:
    """Controls of many pictures: uint8 [n, 128, 128]."""
    rng = np.random.default_rng(seed)
    return np.stack([sort.make(np.array(picture), rng) for picture in pictures])


def as_control(lines: np.ndarray) -> Tensor:
    """uint8 [n, h, w] to [n, 3, h, w] in 0 … 1."""
    images = torch.from_numpy(np.ascontiguousarray(lines)).float().div(255)[:, None].expand(-1, 3, -1, -1)
    return images.contiguous(memory_format=torch.channels_last)


# Training


def new_network(model: Model) -> ControlNetModel:
    """A copy of the denoiser's way down, with outputs that begin at zero (Zhang et al. 2023, arXiv:2302.05543)."""
    network = ControlNetModel.from_unet(model.unet, conditioning_embedding_out_channels=WIDTHS)
    network.set_attn_processor(PlainAttention())
    return network.requires_grad_(True).to(memory_format=torch.channels_last)


def load(network: ControlNetModel, path: Path) -> None:
    """Give the network the weights of a finished one."""
    network.load_state_dict({name: value.float() for name, value in load_file(path).items()})


class Captions:
    """What the network is told of a scene: all of it, nothing, or the colours alone."""

    def __init__(self, model: Model, known: Scenes) -> None:
        self._known = known
        colours = ("", *scenes.COLOURS)
        rows = tokenizer.encode(model.tokenizer, list(colours)).astype(np.int64)
        column = list(scenes.LABELS).index("colour")
        self._colour = torch.from_numpy(rows[known.shown[:, column]])
        self._empty = torch.from_numpy(rows[:1])

    def choose(self, chosen: Tensor) -> Tensor:
        """Half of them whole, 30 % a colour, 20 % nothing: tokens [n, 77]."""
        tokens = self._known.tokens[chosen, torch.randint(0, self._known.tokens.shape[1], chosen.shape)]
        draw = torch.rand(len(chosen), 1)
        tokens = torch.where(draw < 0.5, self._colour[chosen], tokens)
        return torch.where(draw < 0.2, self._empty, tokens)


def train(
    model: Model, network: ControlNetModel, known: Scenes, lines: np.ndarray, minutes: float
) -> tuple[ControlNetModel, int]:
    """The network, which knows now what pictures have such lines, and the number of steps it took."""
    noising, captions = Noising(torch.device("cpu")), Captions(model, known)

    def error() -> Tensor:
        chosen = torch.randint(0, len(known.latents), (BATCH,))
        control = as_control(lines[chosen.numpy()])
        with torch.no_grad():
            states = model.text(captions.choose(chosen)).last_hidden_state

        def predict(noisy: Tensor, times: Tensor) -> Tensor:
            return predict_with(model, network, noisy, times, states, control)

        return noise_error(noising, known.latents[chosen], predict)

    first_and_last = ("conv_in", "controlnet_cond_embedding", "controlnet_down_blocks", "controlnet_mid_block")
    steps = adapters.teach(network.named_parameters(), error, minutes, first_and_last=first_and_last)
    adapters.round_to_half(network.parameters())
    return network.eval(), steps


def predict_with(
    model: Model, network: ControlNetModel, noisy: Tensor, times: Tensor, states: Tensor, control: Tensor
) -> Tensor:
    """The noise, as the denoiser sees it with the network's help."""
    down, middle = network(noisy, times, states, control, return_dict=False)
    return model.unet(
        noisy, times, states, down_block_additional_residuals=down, mid_block_additional_residual=middle
    ).sample


# Measuring


def draw_with(model: Model, network: ControlNetModel | None, prompts: list[str], lines: np.ndarray) -> np.ndarray:
    """Pictures along the lines; without a network, without lines."""

    def predict(noisy: Tensor, times: Tensor, states: Tensor, rows: slice) -> Tensor:
        if network is None:
            return model.unet(noisy, times, states).sample
        control = as_control(lines[rows])
        return predict_with(model, network, noisy, times, states, torch.cat([control, control]))

    return draw(model, prompts, predict, seed=3)


def overlap(lines: np.ndarray, picture: np.ndarray, reach: int) -> float:
    """Of the edges of the control and of the picture, the share that have one of the other within `reach` pixels."""
    wanted, found = lines > 0, canny(picture) > 0
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    near_wanted, near_found = (cv2.dilate(each.astype(np.uint8), square) > 0 for each in (wanted, found))
    agreeing = (wanted & near_found).sum() + (found & near_wanted).sum()
    return float(agreeing / max(wanted.sum() + found.sum(), 1))


def measure(model: Model, network: ControlNetModel, sort: Sort, sheet: Path) -> dict[str, float]:
    """How well the lines of unseen scenes of one thing are kept, where the prompt says only the colour."""
    rng = np.random.default_rng(9_100)
    asked = [scenes.random_scene(rng, pairs=0.0) for _ in range(TEST)]
    truth = np.stack([scenes.render(each, rng) for each in asked])
    lines = make_all(sort, truth, 9_200)
    thin = np.stack([canny(each) for each in truth])
    prompts = [each.things[0].colour for each in asked]
    scorer = Scorer.load()
    scores: dict[str, float] = {}
    drawn = {}
    for name, used in (("with", network), ("without", None)):
        drawn[name] = draw_with(model, used, prompts, lines)
        codes = scorer.codes(drawn[name])
        objects = [scenes.OBJECTS.index(each.things[0].object) + 1 for each in asked]
        colours = [list(scenes.COLOURS).index(each.things[0].colour) + 1 for each in asked]
        pairs = zip(thin, drawn[name], strict=True)
        scores[f"edges {name}"] = float(np.mean([overlap(line, each, sort.reach) for line, each in pairs]))
        scores[f"object {name}"] = float((codes[:, JUDGED.index("object")] == objects).mean())
        scores[f"colour {name}"] = float((codes[:, JUDGED.index("colour")] == colours).mean())
    controls = [np.repeat(each[..., None], 3, 2) for each in lines[:16]]
    adapters.save_sheet([controls, list(drawn["with"][:16]), list(drawn["without"][:16]), list(truth[:16])], sheet)
    return scores


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sort", choices=SORTS)
    parser.add_argument("--out", type=Path, default=Path("models/ControlNet"))
    parser.add_argument("--scenes", type=Path, default=Path("pocket-scenes"), help="where the drawn scenes are kept")
    parser.add_argument("--count", type=int, default=12_000, help="how many scenes")
    parser.add_argument("--minutes", type=float, default=15, help="processor time of the training")
    parser.add_argument("--start", type=Path, help="a finished one to begin as, instead of the denoiser's way down")
    options = parser.parse_args()
    adapters.begin()
    sort = SORTS[options.sort]
    model = adapters.load_base()
    known = adapters.build_scenes(options.scenes, options.count, model)
    lines = make_all(sort, known.pictures, 52)
    log.info("made %d controls", len(lines))
    network = new_network(model)
    if options.start is not None:
        load(network, options.start)
    network, steps = train(model, network, known, lines, options.minutes)
    path = options.out / f"pocket-{sort.name}-sd1.safetensors"
    metadata = {"modelspec.architecture": "stable-diffusion-v1/controlnet", "modelspec.title": sort.title}
    adapters.save(network.state_dict(), path, metadata)
    scores = measure(model, network, sort, options.scenes / f"{sort.name}.png")
    log.info("%d steps: %s", steps, scores)
    facts = {f"{name}": f"{value:.0%}" for name, value in scores.items()} | {
        "title": sort.title, "name": sort.name, "steps": f"{steps:,}", "minutes": f"{options.minutes:g}",
        "count": f"{options.count:,}", "kilobytes": adapters.kilobytes(path), "reach": sort.reach, "test": TEST,
        "start": f" --start {options.start}" if options.start else "",
        "parameters": f"{sum(each.numel() for each in network.parameters()):,}",
    }  # fmt: skip
    adapters.write_card(path, CARD, facts, {"title": sort.title, "description": sort.description})


if __name__ == "__main__":
    main()
