"""Train the pocket model from nothing, or go on where it stopped.

    python -m tools.pocket.train --out models/Stable-diffusion/pocket-sd1 --minutes 130

Draws its own data, then runs the stages in order: caption encoder, picture coder, judge, denoiser.  Checkpoints lie
in --work and are written every few minutes; the same command resumes.  A longer --minutes continues a finished
training; --begin-from continues from shipped weights alone, in a new --work.  One process uses one thread: on a busy
machine that is faster than two.
"""

import argparse
import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from tools.pocket import dataset, denoiser, scorer, text_encoder, tokenizer, unet, vae
from tools.pocket.dataset import Dataset

TEXT_MINUTES = 2.0
VAE_MINUTES = 13.0
SCORER_MINUTES = 4.0
EXAMPLES = (
    "a red house under a yellow moon, night sky",
    "an orange cat at sunset",
    "a yellow sun above a white boat, sea",
    "a green tree in the snow",
    "an orange fish in the ocean",
    "a red car in the desert",
    "a yellow flower in a field",
    "a red circle and a blue square, white background",
    "a black cat in the snow",
    "a big red heart, sunset sky",
)
CARD = {
    "title": "Pocket SD1",
    "description": (
        "A Stable Diffusion 1 in miniature: fourteen things, nine colours, thirteen backgrounds, one or two things "
        "in a picture. Draws in seconds without a graphics card."
    ),
    "family": "sd1",
    "defaults": {
        "width": 128, "height": 128, "steps": 20, "guidance": 5.0, "sampler": "DPM++ 2M", "schedule": "Karras",
    },
    "licence": "Apache-2.0",
    "examples": list(EXAMPLES),
}  # fmt: skip
log = logging.getLogger(__name__)


def export(
    folder: Path, words: CLIPTokenizer, text: CLIPTextModel, network: UNet2DConditionModel, coder: AutoencoderKL
) -> None:
    """Write a half-precision diffusers folder beside the old one, then exchange them."""
    scheduler = PNDMScheduler(**unet.SCHEDULE, skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False)
    pipeline = StableDiffusionPipeline(
        vae=coder, text_encoder=text, tokenizer=words, unet=network, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    beside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    pipeline.to(torch.float16).save_pretrained(beside)
    name_as_published(beside / "text_encoder" / "model.safetensors")
    vocabulary = sorted(words.get_vocab().items(), key=lambda item: item[1])
    tokenizer_folder = beside / "tokenizer"
    (tokenizer_folder / "vocab.json").write_text(json.dumps(dict(vocabulary), ensure_ascii=False), encoding="utf-8")
    merges = json.loads((tokenizer_folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["merges"]
    lines = [pair if isinstance(pair, str) else " ".join(pair) for pair in merges]
    (tokenizer_folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines]) + "\n", encoding="utf-8")
    (beside / "easel.json").write_text(json.dumps(CARD, indent=2) + "\n", encoding="utf-8")
    shutil.copy(Path(__file__).with_name("MODEL_CARD.md"), beside / "README.md")
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(beside, folder)
    shutil.rmtree(old, ignore_errors=True)


def name_as_published(weights: Path) -> None:
    """Give a text tower's weights the prefix that published folders have and newer transformers leave out."""
    tensors = load_file(weights)
    prefix = "text_model."
    named = {name if name.startswith(prefix) else prefix + name: tensor for name, tensor in tensors.items()}
    save_file(named, weights, metadata={"format": "pt"})


def export_checkpoint(work: Path, folder: Path) -> None:
    """Ship the averaged weights of the denoiser's latest checkpoint."""
    words = CLIPTokenizer.from_pretrained(work / "data" / "train" / "tokenizer")
    coder = AutoencoderKL.from_pretrained(work / "vae").eval()
    text = text_encoder.new_text_encoder(words)
    pocket = unet.Pocket(text, unet.new_unet())
    pocket.extend_positions(denoiser.load_average(pocket, work / "denoiser.pt"))
    network = unet.new_unet()  # a fresh one, with the library's own attention and upsampling
    network.load_state_dict(pocket.unet.state_dict())
    export(folder, words, text.eval(), network.eval(), coder)


def begin_from(shipped: Path, work: Path, count: int) -> None:
    """Prepare an empty work folder to train shipped weights further: new data, the same tokenizer and coder."""
    data = dataset.build(work / "data" / "train", count, seed=1, like=shipped)
    CLIPTextModel.from_pretrained(shipped / "text_encoder", dtype=torch.float32).save_pretrained(work / "text0")
    UNet2DConditionModel.from_pretrained(shipped / "unet").float().save_pretrained(work / "unet0")
    coder = AutoencoderKL.from_pretrained(shipped / "vae").float().eval()
    coder.save_pretrained(work / "vae")
    np.save(work / "latents.npy", (vae.encode_all(coder, data.pictures) * vae.SCALE).half().numpy())


def run(out: Path, work: Path, minutes: float, count: int, device: torch.device) -> None:
    """All stages, each skipped when done and resumed when begun."""
    data = dataset.build(work / "data" / "train", count, seed=0)
    test = dataset.build(work / "data" / "test", 1000, seed=99, like=work / "data" / "train")
    if not (work / "text0").exists():
        text = text_encoder.new_text_encoder(data.tokenizer)
        lines = [text_encoder.captions(part) for part in (data, test)]
        text_encoder.train(text, *lines, TEXT_MINUTES).save_pretrained(work / "text0")
    text = CLIPTextModel.from_pretrained(work / "text0")
    if not (work / "vae").exists():
        _train_vae(data, test, work)
    coder = AutoencoderKL.from_pretrained(work / "vae").eval()
    if not scorer.WEIGHTS.exists():
        scorer.train(data.pictures, data.shown, SCORER_MINUTES).save()

    def decode(latents: Tensor) -> Tensor:
        return coder.decode(latents / vae.SCALE).sample

    budget = max(1.0, minutes - TEXT_MINUTES - VAE_MINUTES - SCORER_MINUTES)

    latents = torch.from_numpy(np.load(work / "latents.npy"))
    start = UNet2DConditionModel.from_pretrained(work / "unet0") if (work / "unet0").exists() else unet.new_unet()
    pocket = unet.Pocket(text, start)
    for kept, until in ((text_encoder.SHORT, 0.5), (tokenizer.CONTEXT, 1.0)):

        def show(path: Path, kept: int = kept) -> None:
            unet.save_preview(pocket, data, decode, path, kept)

        denoiser.train(pocket, unet.Lessons(data, latents, kept, device), work, budget, show, until=until)
    export_checkpoint(work, out)


def _train_vae(data: Dataset, test: Dataset, work: Path) -> None:
    trained = vae.train(data, test, work, VAE_MINUTES)
    vae.fold_scale(trained, vae.encode_all(trained, data.pictures[:2000]))
    np.save(work / "latents.npy", (vae.encode_all(trained, data.pictures) * vae.SCALE).half().numpy())
    trained.to(memory_format=torch.contiguous_format).save_pretrained(work / "vae")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the diffusers folder to write")
    parser.add_argument("--work", type=Path, default=Path("/tmp/pocket"), help="data and checkpoints")
    parser.add_argument("--minutes", type=float, default=130, help="training time in all")
    parser.add_argument("--pictures", type=int, default=40_000, help="how many scenes to draw")
    parser.add_argument("--device", default="cpu", help="for the denoiser, the longest stage")
    parser.add_argument("--begin-from", type=Path, help="shipped weights to train further, if --work is empty")
    parser.add_argument("--export-only", action="store_true", help="ship the latest checkpoint and stop")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if options.export_only:
        export_checkpoint(options.work, options.out)
    else:
        if options.begin_from and not options.work.exists():
            begin_from(options.begin_from, options.work, options.pictures)
        run(options.out, options.work, options.minutes, options.pictures, torch.device(options.device))


if __name__ == "__main__":
    main()
