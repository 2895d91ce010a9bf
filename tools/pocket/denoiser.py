"""What all denoisers share: noised examples, how wrong a model is about them, and the loop that makes it less so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.pocket import scenes
from tools.pocket.training import (
    Average,
    Optimisers,
    Progress,
    as_pictures,
    compile_safe,
    load_checkpoint,
    save_checkpoint,
)  # fmt: skip

Forward = Callable[..., tuple[Tensor, Tensor]]  # tokens, noisy latents, times, what else is told: see the pockets
READ_CLASSES = 1 + len(scenes.OBJECTS)
PREVIEWS = (
    "a red house under a yellow moon, night sky", "a red circle", "a big blue star on a white background",
    "a yellow house at night", "a green tree in the snow", "a purple fish at sea", "a pink heart on a black background",
    "a white moon at night", "an orange circle at sunset", "a red boat at sea", "a blue square and a yellow triangle",
    "a green circle above a red square, gray background", "a black cat in the snow", "a red car in the desert",
    "a black triangle on the right, yellow background", "a white boat next to a pink tree, sunset",
)  # fmt: skip
log = logging.getLogger(__name__)


class Noising(Protocol):
    """A way of adding noise; times run from 0 to 1000."""

    def draw_times(self, count: int) -> Tensor:
        """Times [count], stratified over those that are worth learning."""
        ...

    def add(self, clean: Tensor, noise: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy latents, and what is to be predicted of them."""
        ...

    def importance(self, times: Tensor) -> Tensor:
        """How much an error at these times counts."""
        ...


class Learner(Protocol):
    """Text encoders and denoiser as one module."""

    def extend_positions(self, known: int) -> None:
        """Let token positions that were never trained begin as the last trained one."""
        ...


@dataclass(frozen=True)
class Examples:
    """A batch to learn from."""

    words: Tensor  # [n, tokens]
    noisy: Tensor  # [n, channels, 16, 16]
    times: Tensor  # [n]
    wanted: Tensor  # like noisy
    told: tuple[Tensor, ...] = ()  # what an architecture wants to know besides


@dataclass(frozen=True)
class Errors:
    """One batch's losses, and each example's plain error for the log."""

    prediction: Tensor
    reading: Tensor
    squares: Tensor
    times: Tensor

    def figures(self) -> list[float]:
        """For the log: both losses, then the error at low, middle and high noise."""
        bands = (self.times < 300, (self.times >= 300) & (self.times < 700), self.times >= 700)
        return [self.prediction.item(), self.reading.item(), *(self.squares[band].mean().item() for band in bands)]


class Lessons:
    """Endless noised examples, and how wrong a model is about them.

    `tokens` [pictures, captions, length], `empty` [1, length] for no caption, `covers` [pictures, 16, 16].
    """

    def __init__(
        self, noising: Noising, latents: Tensor, tokens: Tensor, empty: Tensor, covers: Tensor, tokens_kept: int,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.noising = noising
        self.latents, self.tokens, self.empty = latents.to(device), tokens.to(device), empty.to(device)
        self.covers = covers.to(device)
        self.tokens_kept = tokens_kept
        self.device = device
        self.order = torch.randperm(0)

    def choose(self, count: int) -> Tensor:
        """The next pictures; all of them come before any comes again."""
        if len(self.order) < count:
            self.order = torch.randperm(len(self.latents))
        chosen, self.order = self.order[:count], self.order[count:]
        return chosen.to(self.device)

    def make(self, chosen: Tensor) -> Examples:
        """Noise these pictures, one in ten without its caption."""
        clean = self.latents[chosen].float()
        words = self.tokens[chosen, torch.randint(0, self.tokens.shape[1], chosen.shape, device=self.device)]
        words = torch.where(torch.rand(len(chosen), 1, device=self.device) < 0.1, self.empty, words)
        times = self.noising.draw_times(len(chosen))
        noisy, wanted = self.noising.add(clean, torch.randn_like(clean), times)
        return Examples(words, noisy.to(memory_format=torch.channels_last), times, wanted)

    def errors(self, run: Forward, chosen: Tensor, emphasis: float) -> Errors:
        """Ask about these pictures and compare.

        Cells on and next to an object count 1 + `emphasis` times.
        """
        examples = self.make(chosen)
        with torch.autocast(self.device.type, torch.bfloat16):
            predicted, read = run(examples.words, examples.noisy, examples.times, *examples.told)
        covers = self.covers[chosen]
        weights = 1 + emphasis * F.max_pool2d((covers > 0).float()[:, None], 3, 1, 1)
        squares = ((predicted.float() - examples.wanted).pow(2) * weights / weights.mean()).mean((1, 2, 3))
        prediction = (squares * self.noising.importance(examples.times)).mean()
        return Errors(prediction, F.cross_entropy(read.float(), covers), squares.detach(), examples.times)


def train(
    pocket: nn.Module,
    lessons: Lessons,
    folder: Path,
    minutes: float,
    show: Callable[[Path], None],
    *,
    batch: int = 32,
    learning_rate: float = 1.5e-3,
    text_rate: float = 0.3,
    first_and_last: tuple[str, ...] = ("conv_in", "conv_out", "reader"),
    until: float = 1.0,
) -> None:
    """Train, or go on training, up to the share `until` of a budget of `minutes`; the result is the checkpoint.

    `pocket` is a Learner. `lessons` may cut captions, which is much cheaper; the last part has to see the full context,
    for that is what a pipeline will feed. `show` draws a preview with the averaged weights.
    """
    device, tokens_kept = lessons.device, lessons.tokens_kept
    compile_safe(pocket.to(device))
    average = Average(pocket.parameters(), 0.998)
    rates = [(name, p, text_rate if name.startswith("text") else 1.0) for name, p in pocket.named_parameters()]
    optimisers = Optimisers(rates, first_and_last)
    step, spent = 0, 0.0
    saved = load_checkpoint(folder / "denoiser.pt")
    if saved is not None:
        pocket.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        optimisers.load_state_dict(saved["optimisers"])
        step, spent = saved["step"], saved["spent"]
        if saved["tokens_kept"] < tokens_kept:
            pocket.extend_positions(saved["tokens_kept"])
            average = Average(pocket.parameters(), average.decay)
    if spent >= until * minutes * 60:
        return
    torch.manual_seed(step)
    compiled = torch.compile(pocket, dynamic=False)
    first = torch.arange(batch, device=device)
    check_gradients(pocket, compiled, lambda run: lessons.errors(run, first, 1.0).prediction)
    progress = Progress(minutes, learning_rate, spent, warm_up=20)
    next_report, next_checkpoint = spent + 30, spent + 240
    figures: list[list[float]] = []
    while progress.share < until:
        late = progress.share > 0.7
        errors = lessons.errors(compiled, lessons.choose(batch), 0.0 if late else 1.0)
        (errors.prediction + (0.02 if late else 0.06) * errors.reading).backward()
        optimisers.step(progress.learning_rate)
        average.update()
        step += 1
        figures.append(errors.figures())
        now, finished = progress.spent, progress.share >= until
        if now > next_report or finished:
            next_report = now + 60
            means = np.nanmean(np.array(figures), 0).round(4).tolist()
            log.info("denoiser %.1f min, %d steps, loss/read/low/mid/high %s", now / 60, step, means)
            figures = []
        if now > next_checkpoint or finished:
            next_checkpoint = now + 300
            average.swap()
            show(folder / f"preview_{step:06d}.png")
            average.swap()
            save_checkpoint(
                folder / "denoiser.pt", model=pocket.state_dict(), average=average.state_dict(),
                optimisers=optimisers.state_dict(), step=step, spent=now, tokens_kept=tokens_kept,
            )  # fmt: skip


def load_average(pocket: nn.Module, checkpoint: Path) -> int:
    """Give a fresh `pocket` the averaged weights of a training's checkpoint; returns how many tokens it has seen."""
    saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
    average = dict(zip((name for name, _ in pocket.named_parameters()), saved["average"]["shadow"], strict=True))
    pocket.load_state_dict({**saved["model"], **average})
    return int(saved["tokens_kept"])


def check_gradients(model: nn.Module, compiled: Forward, loss: Callable[[Forward], Tensor]) -> None:
    """Refuse to train on a compiled graph whose gradients are not those of the plain one."""
    gradients = []
    for run in (compiled, model):
        torch.manual_seed(7)
        loss(run).backward()
        gradients.append([p.grad.flatten().clone() if p.grad is not None else None for p in model.parameters()])
        model.zero_grad()
    similar = [
        torch.cosine_similarity(a, b, dim=0).item()
        for a, b in zip(*gradients, strict=True)
        if a is not None and b is not None and b.norm() > 1e-6
    ]
    log.info("compiled gradients: lowest cosine %.3f, mean %.3f", min(similar), float(np.mean(similar)))
    if np.mean(similar) < 0.95:
        raise RuntimeError("torch.compile gives wrong gradients; train with TORCHDYNAMO_DISABLE=1")


def save_sheet(images: Tensor, path: Path) -> None:
    """A small contact sheet of images [n, 3, 128, 128] in -1..1."""
    cv2.imwrite(str(path), scenes.sheet(list(as_pictures(images)), 8)[..., ::-1])
