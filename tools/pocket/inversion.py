"""Train a pocket embedding (textual inversion, Gal et al. 2022, arXiv:2208.01618): a word for what has none.

    python -m tools.pocket.inversion turquoise
    python -m tools.pocket.inversion blurred

Nothing but a few vectors learns: what the text encoder is given in place of a word. `blurred` is made for the negative
prompt: it is taught on spoilt pictures, so that one can ask for the opposite.
"""

from __future__ import annotations

import argparse
import colorsys
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn

from tools.pocket import adapters, scenes
from tools.pocket.adapters import noise_error
from tools.pocket.evaluate import Model, single_question
from tools.pocket.scorer import JUDGED, Scorer
from tools.pocket.unet import Noising

VECTORS = 2
BATCH = 16
SIGN = "*"  # stands for one vector in a caption
HERE = " ".join([SIGN] * VECTORS)
TURQUOISE = (28, 196, 186)
CARD = Path(__file__).with_name("INVERSION_CARD.md")
log = logging.getLogger(__name__)

# Pictures

Pictures = tuple[np.ndarray, list[str]]


def turquoise(count: int, rng: Generator) -> Pictures:
    """Things in a colour that the pocket world does not know, and captions."""
    pictures, captions = [], []
    for _ in range(count):
        background = str(rng.choice(["sky", "field", "night", "sunset", "snow", "desert", *_PLAIN]))
        name = str(rng.choice(scenes.OBJECTS))
        x, y = scenes.SIZE / 2 + rng.uniform(-8, 8, 2)
        scene = scenes.Scene(
            background, (scenes.Thing(name, "blue", float(x), float(y), rng.uniform(28, 42)),), "single"
        )
        pictures.append(_recoloured(scene, rng))
        place = f", {scenes.background_phrase(background, rng)}" if rng.random() < 0.8 else ""
        captions.append(f"a {HERE} {name}{place}")
    return np.stack(pictures), captions


_PLAIN = ("plain white", "plain gray", "plain black", "plain pink", "plain yellow")


def _recoloured(scene: scenes.Scene, rng: Generator) -> np.ndarray:
    """The scene with its blue things turquoise: the same drawn twice, the two colours then exchanged by difference."""
    seed = int(rng.integers(2**31))
    with_thing = scenes.render(scene, np.random.default_rng(seed)).astype(np.float32)
    hsv = cv2.cvtColor(with_thing / 255, cv2.COLOR_RGB2HSV)
    empty = scenes.render(scenes.Scene(scene.background, (), "single"), np.random.default_rng(seed))
    covered = np.abs(with_thing - empty).max(2) > 12
    blue = covered & (hsv[..., 0] > 205) & (hsv[..., 0] < 245) & (hsv[..., 1] > 0.45)
    wanted = colorsys.rgb_to_hsv(*(value / 255 for value in TURQUOISE))
    hsv[..., 0] = np.where(blue, wanted[0] * 360, hsv[..., 0])
    hsv[..., 2] = np.where(blue, hsv[..., 2] * wanted[2] / 0.88, hsv[..., 2]).clip(0, 1)
    return (cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).round().astype(np.uint8)


def blurred(count: int, rng: Generator) -> Pictures:
    """Scenes out of focus, and captions."""
    pictures, captions = [], []
    for _ in range(count):
        scene = scenes.random_scene(rng, pairs=0.2)
        picture = cv2.GaussianBlur(scenes.render(scene, rng), (0, 0), rng.uniform(2, 3.5))
        pictures.append(picture)
        captions.append(f"{HERE}, {scenes.caption(scene, rng).text}" if rng.random() < 0.7 else HERE)
    return np.stack(pictures), captions


# Training


class Word(nn.Module):
    """The vectors of one word; in place of every run of SIGNs while `taught`."""

    def __init__(self, model: Model, like: str) -> None:
        super().__init__()
        self.sign = int(model.tokenizer.convert_tokens_to_ids(f"{SIGN}</w>"))
        known = model.tokenizer(like, add_special_tokens=False).input_ids
        table = model.text.get_input_embeddings().weight
        start = table[torch.tensor([known[index % len(known)] for index in range(VECTORS)])]
        self.vectors = nn.Parameter(start.detach().clone())

    @contextmanager
    def taught(self, model: Model) -> Iterator[None]:
        """While inside, SIGNs mean the vectors, one after the other."""
        handle = model.text.get_input_embeddings().register_forward_hook(self._replace)
        try:
            yield
        finally:
            handle.remove()

    def _replace(self, table: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        signs = given[0] == self.sign
        which = (signs.int().cumsum(-1) - 1).clamp(min=0) % VECTORS
        return torch.where(signs[..., None], self.vectors[which].to(output.dtype), output)


def train(model: Model, word: Word, pictures: np.ndarray, captions: Sequence[str], minutes: float) -> int:
    """Let the vectors mean what the pictures show; returns the number of steps."""
    latents, noising = adapters.to_latents(model.vae, pictures), Noising(torch.device("cpu"))

    def error() -> Tensor:
        chosen = torch.randint(0, len(latents), (BATCH,))
        told = model.encode([captions[index] for index in chosen.tolist()])
        return noise_error(noising, latents[chosen], lambda noisy, times: model.unet(noisy, times, **told).sample)

    with word.taught(model):
        steps = adapters.teach(word.named_parameters(), error, minutes, peak=1e-2, plain=True, decay=0.98)
    adapters.round_to_half(word.parameters())
    return steps


# Measuring


def is_turquoise(picture: np.ndarray) -> bool:
    """At least a thirtieth of the picture is of the colour."""
    hsv = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    there = (np.abs(hsv[..., 0] - 177) < 14) & (hsv[..., 1] > 0.45) & (hsv[..., 2] > 0.4)
    return bool(there.mean() > 1 / 30)


def sharpness(pictures: np.ndarray) -> float:
    """The mean of the steepest hundredth of all steps from pixel to pixel, 0 … 255."""
    jumps = np.sort(np.abs(np.diff(pictures.astype(int), axis=2)).max(-1).ravel())
    return float(jumps[-len(jumps) // 100 :].mean())


def measure_turquoise(model: Model, word: Word, sheet: Path, count: int = 60) -> str:
    """A table: how often the colour is seen, and the thing of the prompt."""
    rng, scorer = np.random.default_rng(8_100), Scorer.load()
    names = [str(rng.choice(scenes.OBJECTS)) for _ in range(count)]
    places = [str(rng.choice(["white background", "at night", "on a field", "in the desert"])) for _ in range(count)]
    answers = [scenes.OBJECTS.index(name) + 1 for name in names]
    lines, rows = ["| words | turquoise | the thing |", "|---|---|---|"], []
    for words, shown in ((HERE, "`pocket-turquoise`"), ("turquoise", "“turquoise”"), ("green blue", "“green blue”")):
        prompts = [f"a {words} {name}, {place}" for name, place in zip(names, places, strict=True)]
        with word.taught(model):
            pictures = model.draw(prompts, seed=31)
        share = np.mean([is_turquoise(each) for each in pictures])
        kept = (scorer.codes(pictures)[:, JUDGED.index("object")] == answers).mean()
        lines.append(f"| a {shown} … | {share:.0%} | {kept:.0%} |")
        rows.append(list(pictures[:16]))
    adapters.save_sheet(rows, sheet)
    return "\n".join(lines)


def measure_blurred(model: Model, word: Word, sheet: Path, count: int = 60) -> str:
    """A table: how sharp pictures are, and how often all of the prompt is there."""
    rng, scorer = np.random.default_rng(8_200), Scorer.load()
    questions = [single_question(rng) for _ in range(count)]
    prompts = [question.prompt for question in questions]
    lines, rows = ["| | steepest steps | all of the prompt |", "|---|---|---|"], []
    for shown, lead, negative in (
        ("without", "", ""), ("in the negative prompt", "", HERE), ("in the prompt", f"{HERE}, ", ""),
    ):  # fmt: skip
        with word.taught(model):
            pictures = model.draw([lead + prompt for prompt in prompts], negative, seed=32)
        answers = np.array([question.answer for question in questions])
        right = (scorer.codes(pictures)[:, :3] == answers[:, :3]).all(1).mean()
        lines.append(f"| {shown} | {sharpness(pictures):.0f} | {right:.0%} |")
        rows.append(list(pictures[:16]))
    adapters.save_sheet(rows, sheet)
    return "\n".join(lines)


@dataclass(frozen=True)
class Meaning:
    """One embedding: what it is taught on, the words it begins as, and how it is measured."""

    title: str
    description: str
    like: str
    use: str
    draw: Callable[[int, Generator], Pictures]
    measure: Callable[[Model, Word, Path], str]


MEANINGS = {
    "turquoise": Meaning(
        "Pocket Turquoise", "A colour that Pocket SD1 has no word for.", "green blue",
        "a pocket-turquoise cat, at night", turquoise, measure_turquoise,
    ),
    "blurred": Meaning(
        "Pocket Blurred", "For the negative prompt: asks Pocket SD1 for the opposite of blurred pictures.",
        "low quality", "in the negative prompt: pocket-blurred", blurred, measure_blurred,
    ),
}  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meaning", choices=MEANINGS)
    parser.add_argument("--out", type=Path, default=Path("models/embeddings"))
    parser.add_argument("--sheets", type=Path, default=Path("pocket-sheets"))
    parser.add_argument("--count", type=int, default=300, help="how many pictures")
    parser.add_argument("--minutes", type=float, default=4, help="processor time of the training")
    options = parser.parse_args()
    adapters.begin()
    meaning, model = MEANINGS[options.meaning], adapters.load_base()
    pictures, captions = meaning.draw(options.count, np.random.default_rng(71))
    word = Word(model, meaning.like)
    steps = train(model, word, pictures, captions, options.minutes)
    path = options.out / f"pocket-{options.meaning}.safetensors"
    metadata = {"modelspec.architecture": "stable-diffusion-v1/textual-inversion", "modelspec.title": meaning.title}
    adapters.save({"emb_params": word.vectors}, path, metadata)
    table = meaning.measure(model, word, options.sheets / f"{path.stem}.png")
    log.info("%d steps\n%s", steps, table)
    facts = {
        "title": meaning.title, "name": options.meaning, "use": meaning.use, "vectors": VECTORS, "table": table,
        "bytes": path.stat().st_size, "steps": f"{steps:,}", "minutes": f"{options.minutes:g}",
        "count": options.count, "like": meaning.like, "description": meaning.description,
    }  # fmt: skip
    adapters.write_card(path, CARD, facts, {"title": meaning.title, "description": meaning.description})


if __name__ == "__main__":
    main()
