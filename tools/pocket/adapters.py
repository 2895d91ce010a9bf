"""What the trainings of adapters have in common: the finished pocket model, scenes with their latents, the loop, files.

An adapter changes nothing of the model: a LoRA, a ControlNet, an embedding, an IP-Adapter.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler
from safetensors.torch import save_file
from torch import Tensor, nn

from tools.pocket import dataset, scenes
from tools.pocket.evaluate import Model, load_model
from tools.pocket.training import Average, Optimisers, Progress, as_pictures
from tools.pocket.unet import Noising, PlainAttention
from tools.pocket.vae import encode_all

SCENES_SEED = 51
BASE = Path("models/Stable-diffusion/pocket-sd1")
Predict = Callable[[Tensor, Tensor], Tensor]
"""Noisy latents [n, 4, 16, 16] and times [n] → the noise in them."""
PredictRows = Callable[[Tensor, Tensor, Tensor, slice], Tensor]
"""The same while drawing: twice as many latents (without and with words), times, caption states, which pictures."""
log = logging.getLogger(__name__)


def load_base(folder: Path = BASE) -> Model:
    """The finished model, which learns nothing more, laid out for training on a processor."""
    model = load_model(folder)
    if not isinstance(model, Model):
        raise TypeError(f"{folder} is no model with a UNet")
    for part in (model.text, model.unet, model.vae):
        part.requires_grad_(False)
    model.unet.set_attn_processor(PlainAttention())
    model.unet.to(memory_format=torch.channels_last)
    return model


@dataclass(frozen=True)
class Scenes:
    """Rendered scenes with what an adapter learns from."""

    pictures: np.ndarray  # [n, 128, 128, 3] uint8
    latents: Tensor  # [n, 4, 16, 16], as the denoiser sees them
    shown: np.ndarray  # [n, labels], see scenes.LABELS
    tokens: Tensor  # [n, captions, 77]


def build_scenes(folder: Path, count: int, model: Model) -> Scenes:
    """Draw `count` scenes (thousands) once, with the base's tokenizer, and send them through its coder."""
    data = dataset.build(folder, count, SCENES_SEED, like=BASE)
    path = folder / "latents.npy"
    if not path.exists():
        log.info("drew %d scenes", count)
        latents = to_latents(model.vae, data.pictures)
        np.save(path, latents.half().numpy())
    tokens = torch.from_numpy(data.tokens.astype(np.int64))
    return Scenes(data.pictures, torch.from_numpy(np.load(path)), data.shown, tokens)


def to_latents(vae: AutoencoderKL, pictures: np.ndarray) -> Tensor:
    """Pictures (uint8 [n, 128, 128, 3]) as the denoiser sees them."""
    return encode_all(vae, pictures) * vae.config.scaling_factor


def noise_error(noising: Noising, clean: Tensor, predict: Predict) -> Tensor:
    """How wrong `predict` is about the noise in these latents, weighted as when the base was trained."""
    clean = clean.float()
    times = noising.draw_times(len(clean))
    noisy, wanted = noising.add(clean, torch.randn_like(clean), times)
    with torch.autocast("cpu", torch.bfloat16):
        predicted = predict(noisy.to(memory_format=torch.channels_last), times)
    squares = (predicted.float() - wanted).pow(2).mean((1, 2, 3))
    return (squares * noising.importance(times)).mean()


def teach(
    named: Iterable[tuple[str, nn.Parameter]],
    error: Callable[[], Tensor],
    minutes: float,
    *,
    peak: float = 1.5e-3,
    first_and_last: Sequence[str] = (),
    decay: float = 0.995,
    every: int = 50,
    plain: bool = False,
) -> int:
    """Make `error` smaller for some minutes of processor time; the average of the weights stays. Returns the steps.

    Muon for matrices and AdamW for the rest, or `plain` AdamW for everything.
    """
    listed = [(name, parameter, 1.0) for name, parameter in named]
    optimisers = Optimisers(listed, ("",) if plain else first_and_last)
    average = Average([parameter for _, parameter, _ in listed], decay)
    progress = Progress(minutes, peak, clock=time.process_time)
    step, total = 0, 0.0
    while progress.share < 1:
        loss = error()
        loss.backward()
        optimisers.step(progress.learning_rate)
        average.update()
        step, total = step + 1, total + loss.item()
        if step % every == 0:
            log.info("%.1f min, step %d, error %.4f", progress.spent / 60, step, total / every)
            total = 0.0
    average.swap()
    return step


@torch.no_grad()
def draw(
    model: Model, prompts: Sequence[str], predict: PredictRows, *, negative: str = "", steps: int = 20,
    guidance: float = 5.0, seed: int = 0, batch: int = 25,
) -> np.ndarray:  # fmt: skip
    """uint8 pictures, one for each prompt, by DPM++ 2M on Karras sigmas, with an adapter's way to `predict`."""
    noise = torch.randn(len(prompts), 4, 16, 16, generator=torch.Generator().manual_seed(seed))
    names = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule")
    pictures = []
    for start in range(0, len(prompts), batch):
        rows = slice(start, min(start + batch, len(prompts)))
        part = list(prompts[rows])
        states = model.encode([negative] * len(part) + part)["encoder_hidden_states"]
        scheduler = DPMSolverMultistepScheduler(**{n: model.schedule[n] for n in names}, use_karras_sigmas=True)
        scheduler.set_timesteps(steps)
        latents = noise[rows] * scheduler.init_noise_sigma
        for moment in scheduler.timesteps:
            both = scheduler.scale_model_input(torch.cat([latents, latents]), moment)
            with torch.autocast("cpu", torch.bfloat16):
                predicted = predict(both, moment.expand(len(both)), states, rows).float()
            without, with_words = predicted.chunk(2)
            latents = scheduler.step(without + guidance * (with_words - without), moment, latents).prev_sample
        with torch.autocast("cpu", torch.bfloat16):
            pictures.append(as_pictures(model.vae.decode(latents / model.vae.config.scaling_factor).sample))
    return np.concatenate(pictures)


def round_to_half(parameters: Iterable[nn.Parameter]) -> None:
    """What is measured is what is shipped."""
    for parameter in parameters:
        parameter.data = parameter.data.half().float()


def save(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write half-precision weights beside, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    halves = {name: value.detach().half().contiguous().clone() for name, value in tensors.items()}
    save_file(halves, beside, {"format": "pt", "modelspec.license": "Apache-2.0", **metadata})
    os.replace(beside, path)


def write_card(path: Path, card: Path, facts: Mapping[str, object], entry: Mapping[str, object]) -> None:
    """Fill the card's `{names}` with facts and write it beside the weights, and the catalog's entry."""
    text = card.read_text(encoding="utf-8")
    for name, value in facts.items():
        text = text.replace(f"{{{name}}}", str(value))
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    entry = {**entry, "licence": "Apache-2.0"}
    path.with_suffix(".easel.json").write_text(json.dumps(entry, indent=2) + "\n", encoding="utf-8")


def kilobytes(path: Path) -> str:
    """How large a file is."""
    return f"{path.stat().st_size / 1000:,.0f}"


def save_sheet(rows: Sequence[Sequence[np.ndarray]], path: Path) -> None:
    """A contact sheet, one line for each of `rows`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), scenes.sheet([each for row in rows for each in row], len(rows[0]))[..., ::-1])


def begin() -> None:
    """One thread, a fixed seed, and a log."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
