"""Pocket Flux: Flux.1's own architecture in miniature, guidance distilled as in dev.

    python -m tools.pocket.flux --out models/Stable-diffusion/pocket-flux --minutes 95

Needs the data that `tools.pocket.train` left in --work, and takes CLIP and the beginnings of the coder from pocket SD1.
The stages, each skipped when done and resumed when begun: coder, T5, denoiser on captions with little padding, and on
whole ones with guidance to be told.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from tools.pocket import dataset, denoiser, flow, flux_coder, pieces, text_encoder, tokenizer
from tools.pocket.dataset import Dataset
from tools.pocket.train import name_as_published

CODER_MINUTES = 8.0
TEXT_MINUTES = 2.5
GUIDED_AFTER = 0.7  # share of the denoiser's time
CARD = {
    "title": "Pocket Flux",
    "description": (
        "Flux.1's architecture in miniature, drawing the same fourteen things as Pocket SD1 by flow matching, with "
        "distilled guidance. Draws in seconds without a graphics card."
    ),
    "family": "flux",
    "defaults": {
        "width": 128, "height": 128, "steps": 20, "guidance": 1.0, "distilled_guidance": 4.0, "sampler": "Euler",
        "schedule": "Simple",
    },
    "licence": "Apache-2.0",
    "examples": [
        "a red house under a yellow moon, night sky", "a black cat in the snow", "an orange fish in the ocean",
        "a red circle and a blue square, white background", "a big red heart, sunset sky",
    ],
}  # fmt: skip
log = logging.getLogger(__name__)


def new_pocket(work: Path, shipped: Path) -> flow.PocketFlux:
    """All networks as they are before the denoiser is trained."""
    text = T5EncoderModel.from_pretrained(work / "flux" / "t5")
    clip = CLIPTextModel.from_pretrained(shipped / "text_encoder", dtype=torch.float32)
    return flow.PocketFlux(text, clip, flow.new_transformer(pieces.WIDTH, clip.config.hidden_size))


def read_captions(data: Dataset, test: Dataset, folder: Path) -> T5Tokenizer:
    """Learn T5's words, then its encoder from exact labels."""
    texts, test_texts = (pieces.read_back(part.tokenizer, part.tokens.reshape(-1, 77)) for part in (data, test))
    words = pieces.build(texts, folder / "tokenizer_2")
    np.save(folder / "words.npy", pieces.encode(words, texts).numpy().astype(np.int16))
    lines = [
        pieces.captions(part, words, part_texts, pieces.SHORT)
        for part, part_texts in ((data, texts), (test, test_texts))
    ]
    text = text_encoder.train(pieces.new_encoder(words), *lines, TEXT_MINUTES, learning_rate=3e-3)
    text.save_pretrained(folder / "t5")
    return words


def run(work: Path, shipped: Path, minutes: float) -> None:
    """Train, or go on."""
    data, test = (dataset.Dataset.open(work / "data" / name) for name in ("train", "test"))
    folder = work / "flux"
    folder.mkdir(exist_ok=True)
    if not (folder / "vae").exists():
        flux_coder.train(data, test, shipped, folder, CODER_MINUTES).save_pretrained(folder / "vae")
    coder = AutoencoderKL.from_pretrained(folder / "vae").eval()
    if not (folder / "t5").exists():
        read_captions(data, test, folder)
    words = T5Tokenizer.from_pretrained(folder / "tokenizer_2")
    captions = torch.from_numpy(np.load(folder / "words.npy").astype(np.int64))
    captions = captions.unflatten(0, (len(data.pictures), -1))
    latents = flux_coder.linear_latents(data, folder)
    budget = max(1.0, minutes - CODER_MINUTES - TEXT_MINUTES)
    pocket = new_pocket(work, shipped)

    def rows(texts: Sequence[str], kept: int) -> Tensor:
        clips = tokenizer.encode(data.tokenizer, list(texts))[:, : text_encoder.SHORT].astype(np.int64)
        return torch.cat([pieces.encode(words, texts, kept), torch.from_numpy(clips)], 1)

    def learn(kept: int, until: float, teacher: flow.PocketFlux | None = None) -> None:
        nothing = rows([""], kept)

        def show(path: Path) -> None:
            asked = rows(denoiser.PREVIEWS, kept)
            made = flow.sample(pocket, asked, nothing, told=teacher is not None)
            with torch.no_grad():
                pictures = coder.decode(made / flux_coder.SCALE + flux_coder.SHIFT).sample
            denoiser.save_sheet(pictures, path)

        told = data, latents, captions, nothing, kept, words.eos_token_id
        lessons = flow.GuidedLessons(teacher, *told) if teacher else flow.Lessons(*told)
        ends = ("reader", "transformer.x_embedder", "transformer.proj_out", "shared", "relative_attention_bias")
        denoiser.train(pocket, lessons, folder, budget, show, first_and_last=ends, until=until)

    learn(pieces.SHORT, GUIDED_AFTER)
    if not (folder / "teacher.pt").exists():
        shutil.copy(folder / "denoiser.pt", folder / "teacher.pt")
    teacher = new_pocket(work, shipped)
    denoiser.load_average(teacher, folder / "teacher.pt")
    learn(pieces.CONTEXT, 1.0, teacher)


def export(work: Path, shipped: Path, out: Path) -> None:
    """Write the averaged weights as a half-precision diffusers folder."""
    words = T5Tokenizer.from_pretrained(work / "flux" / "tokenizer_2")
    pocket = new_pocket(work, shipped)
    denoiser.load_average(pocket, work / "flux" / "denoiser.pt")
    pieces.level_capitals(pocket.text, words)
    transformer = flow.new_transformer(pieces.WIDTH, pocket.clip.config.hidden_size)  # with the library's attention
    transformer.load_state_dict(pocket.transformer.state_dict())
    folder = out.with_name(f".{out.name}.new")
    shutil.rmtree(folder, ignore_errors=True)
    FluxPipeline(
        vae=AutoencoderKL.from_pretrained(work / "flux" / "vae"), transformer=transformer,
        text_encoder=pocket.clip, tokenizer=CLIPTokenizer.from_pretrained(shipped / "tokenizer"),
        text_encoder_2=pocket.text, tokenizer_2=words, scheduler=FlowMatchEulerDiscreteScheduler(**flow.SCHEDULE),
    ).to(torch.float16).save_pretrained(folder)  # fmt: skip
    for file in ("vocab.json", "merges.txt"):
        shutil.copy(shipped / "tokenizer" / file, folder / "tokenizer" / file)
    name_as_published(folder / "text_encoder" / "model.safetensors")
    shutil.copy(Path(__file__).with_name("FLUX_CARD.md"), folder / "README.md")
    for weights in folder.glob("*/*.safetensors"):
        weights.chmod(0o644)
    (folder / "easel.json").write_text(json.dumps(CARD, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    os.replace(folder, out)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the diffusers folder to write")
    parser.add_argument("--work", type=Path, default=Path("/tmp/pocket"), help="data and checkpoints")
    parser.add_argument("--begin-from", type=Path, default=Path("models/Stable-diffusion/pocket-sd1"))
    parser.add_argument("--minutes", type=float, default=95, help="training time in all")
    parser.add_argument("--export-only", action="store_true", help="ship the latest checkpoint and stop")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if not options.export_only:
        run(options.work, options.begin_from, options.minutes)
    export(options.work, options.begin_from, options.out)


if __name__ == "__main__":
    main()
