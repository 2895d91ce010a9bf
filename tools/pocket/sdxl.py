"""Pocket SDXL: SDXL's own architecture in miniature, begun from pocket SD1's weights.

    python -m tools.pocket.sdxl --out models/Stable-diffusion/pocket-sdxl --minutes 60

Two text towers, whose penultimate layers are read side by side, a pooled state of the second, and the sizes of the
picture as conditions. Needs the data and latents that `tools.pocket.train` left in --work.
"""

import argparse
import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tools.pocket import dataset, denoiser, scenes, text_encoder, tokenizer, unet, vae
from tools.pocket.dataset import Dataset
from tools.pocket.denoiser import Examples
from tools.pocket.train import name_as_published

WIDTH = text_encoder.WIDTH
SIZE_WIDTH = 32  # of each of the six numbers about sizes
SCALE = 0.13025  # SDXL's factor on latents
PLAIN = (128, 128, 0, 0, 128, 128)  # original height and width, crop top and left, target height and width
BLURRED, CROPPED = 7000, 5000  # examples besides the plain ones
IGNORED = -100  # a cover the reader is not asked about
log = logging.getLogger(__name__)


def new_unet() -> UNet2DConditionModel:
    """SDXL's block pattern: no attention at the first level, linear projections, pooled text and sizes in the time."""
    return UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=unet.CHANNELS, layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=[1, 1, 2], cross_attention_dim=2 * WIDTH, attention_head_dim=8,
        norm_num_groups=16, use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=SIZE_WIDTH, projection_class_embeddings_input_dim=WIDTH + 6 * SIZE_WIDTH,
    )  # fmt: skip


def new_texts(words: CLIPTokenizer) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """Two towers of four layers, of which the last but one is read, as SDXL does."""
    shared = {
        "vocab_size": len(words), "hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": 4,
        "num_attention_heads": WIDTH // 64, "max_position_embeddings": 77, "projection_dim": WIDTH,
        "bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id,
    }  # fmt: skip
    first = CLIPTextModel(CLIPTextConfig(**shared, hidden_act="quick_gelu", pad_token_id=words.pad_token_id))
    second = CLIPTextModelWithProjection(CLIPTextConfig(**shared, hidden_act="gelu", pad_token_id=0))
    return first, second


class PocketXL(unet.Pocket):
    """Both text towers and the denoiser as one function."""

    def __init__(
        self, first: CLIPTextModel, second: CLIPTextModelWithProjection, network: UNet2DConditionModel, end: int
    ) -> None:
        super().__init__(first, network)
        self.text_2 = second
        self.end = end

    def forward(self, tokens: Tensor, noisy: Tensor, times: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Predicted noise, and scores of the reader; `sizes` [n, 6]."""
        states, pooled = self.encode(tokens)
        return self.denoise(states, noisy, self.embed_all(times, pooled, sizes, noisy))

    def encode(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """States [n, length, 2 · width] and pooled text [n, width]; the second tower's padding is token 0."""
        one = self.text(tokens, output_hidden_states=True).hidden_states[-2]
        ended = (tokens == self.end).int()
        padded = torch.where(ended.cumsum(1) - ended > 0, 0, tokens)
        two = self.text_2(padded, output_hidden_states=True)
        return torch.cat([one, two.hidden_states[-2]], -1), two.text_embeds

    def embed_all(self, times: Tensor, pooled: Tensor, sizes: Tensor, like: Tensor) -> Tensor:
        """The time's embedding with that of pooled text and sizes."""
        spread = self.unet.add_time_proj(sizes.flatten()).reshape(len(sizes), -1)
        added = self.unet.add_embedding(torch.cat([pooled, spread.to(pooled.dtype)], -1))
        return self.embed(times, like) + added

    def extend_positions(self, known: int) -> None:
        super().extend_positions(known)
        text_encoder.extend_positions(self.text_2.text_model, known)


class LessonsXL(unet.Lessons):
    """Plain, blurred and cropped examples, each with its sizes."""

    def __init__(
        self, data: Dataset, latents: Tensor, more: dict[str, np.ndarray], tokens_kept: int, device: torch.device
    ) -> None:
        super().__init__(data, latents, tokens_kept, device)
        source = torch.from_numpy(more["source"])
        self.latents = torch.cat([self.latents, torch.from_numpy(more["latents"]).to(device)])
        self.tokens = torch.cat([self.tokens, self.tokens[source]])
        covers = torch.where(torch.from_numpy(more["cropped"])[:, None, None], IGNORED, self.covers[source])
        self.covers = torch.cat([self.covers, covers])
        plain = torch.tensor([PLAIN], dtype=torch.float32).expand(len(data.covers), -1)
        self.sizes = torch.cat([plain, torch.from_numpy(more["sizes"])]).to(device)

    def make(self, chosen: Tensor) -> Examples:
        return replace(super().make(chosen), told=(self.sizes[chosen],))


def make_more(data: Dataset, coder: AutoencoderKL, seed: int = 5) -> dict[str, np.ndarray]:
    """Latents of blurred pictures (small originals) and of cropped ones, and the sizes that say so."""
    random = np.random.default_rng(seed)
    source = random.integers(0, len(data.pictures), BLURRED + CROPPED)
    pictures = np.empty((len(source), scenes.SIZE, scenes.SIZE, 3), np.uint8)
    sizes = np.empty((len(source), 6), np.float32)
    for number, index in enumerate(source):
        picture = data.pictures[index]
        if number < BLURRED:
            side = int(random.integers(24, 97))
            small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
            pictures[number] = cv2.resize(small, (scenes.SIZE, scenes.SIZE), interpolation=cv2.INTER_CUBIC)
            sizes[number] = (side, side, 0, 0, scenes.SIZE, scenes.SIZE)
        else:
            side = int(random.integers(136, 193))
            large = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
            top, left = (int(random.integers(0, side - scenes.SIZE + 1)) for _ in range(2))
            pictures[number] = large[top : top + scenes.SIZE, left : left + scenes.SIZE]
            sizes[number] = (side, side, top, left, scenes.SIZE, scenes.SIZE)
    latents = (vae.encode_all(coder, pictures) * vae.SCALE).half().numpy()
    cropped = np.arange(len(source)) >= BLURRED
    return {"source": source, "latents": latents, "sizes": sizes, "cropped": cropped}


@torch.no_grad()
def begin(words: CLIPTokenizer, shipped: Path) -> PocketXL:
    """Take over from pocket SD1 what fits: residual blocks, attention where both have it, the text tower twice."""
    first, second = new_texts(words)
    network = new_unet()
    old_text = CLIPTextModel.from_pretrained(shipped / "text_encoder", dtype=torch.float32)
    for tower in (first, second):
        own = tower.state_dict()
        for name, tensor in old_text.state_dict().items():
            for candidate in (name, f"text_model.{name}", name.removeprefix("text_model.")):
                if candidate in own and own[candidate].shape == tensor.shape:
                    own[candidate].copy_(tensor)
    own = network.state_dict()
    old = UNet2DConditionModel.from_pretrained(shipped / "unet").float().state_dict()
    taken = 0
    for name, tensor in old.items():
        if name not in own:
            continue
        target = own[name]
        if target.shape == tensor.shape:
            target.copy_(tensor)
        elif target.dim() == 2 and tensor.dim() == 4 and tensor.shape[2:] == (1, 1):  # projections became linear
            target.copy_(tensor[:, :, 0, 0])
        elif target.dim() == 2 and tensor.dim() == 2 and target.shape[1] == 2 * tensor.shape[1]:  # keys and values
            target.zero_()
            target[:, : tensor.shape[1]] = tensor
        else:
            continue
        taken += 1
    log.info("taken over from pocket SD1: %d of %d tensors", taken, len(own))
    for part in ("linear_2.weight", "linear_2.bias"):
        own[f"add_embedding.{part}"].zero_()  # the new conditions begin without a voice
    return PocketXL(first, second, network, words.eos_token_id)


@torch.no_grad()
def sample(pocket: PocketXL, words: Tensor, nothing: Tensor, *, steps: int = 20, guidance: float = 5.0) -> Tensor:
    """Latents for token rows by DPM++ 2M on Karras sigmas, in the plain size."""
    scheduler = DPMSolverMultistepScheduler(**unet.SCHEDULE, use_karras_sigmas=True)
    scheduler.set_timesteps(steps)
    states, pooled = pocket.encode(torch.cat([nothing, words]))
    latents = torch.randn(len(words), 4, 16, 16, generator=torch.Generator().manual_seed(1))
    latents = latents * scheduler.init_noise_sigma
    sizes = torch.tensor([PLAIN], dtype=torch.float32).expand(2 * len(words), -1)
    for time in scheduler.timesteps:
        both = scheduler.scale_model_input(torch.cat([latents, latents]), time)
        with torch.autocast("cpu", torch.bfloat16):
            told = pocket.embed_all(time.expand(len(both)), pooled, sizes, both)
            noise, _ = pocket.denoise(states, both.to(memory_format=torch.channels_last), told)
        without, with_words = noise.float().chunk(2)
        latents = scheduler.step(without + guidance * (with_words - without), time, latents).prev_sample
    return latents


def export(work: Path, out: Path) -> None:
    """Write the averaged weights as a half-precision diffusers folder."""
    words = CLIPTokenizer.from_pretrained(work / "data" / "train" / "tokenizer")
    first, second = new_texts(words)
    pocket = PocketXL(first, second, new_unet(), words.eos_token_id)
    pocket.extend_positions(denoiser.load_average(pocket, work / "sdxl" / "denoiser.pt"))
    network = new_unet()  # a fresh one, with the library's own attention and upsampling
    network.load_state_dict(pocket.unet.state_dict())
    coder = AutoencoderKL.from_pretrained(work / "vae").float()
    _rescale(coder)
    folder = out.with_name(f".{out.name}.new")
    shutil.rmtree(folder, ignore_errors=True)
    second_words = CLIPTokenizer.from_pretrained(work / "data" / "train" / "tokenizer", pad_token="!")
    StableDiffusionXLPipeline(
        vae=coder, text_encoder=first, text_encoder_2=second, tokenizer=words, tokenizer_2=second_words, unet=network,
        scheduler=EulerDiscreteScheduler(**unet.SCHEDULE, timestep_spacing="leading", steps_offset=1),
        force_zeros_for_empty_prompt=False, add_watermarker=False,  # "" was what unconditional meant in training
    ).to(torch.float16).save_pretrained(folder)  # fmt: skip
    for name in ("tokenizer", "tokenizer_2"):
        for file in ("vocab.json", "merges.txt"):
            shutil.copy(work / "data" / "train" / "tokenizer" / file, folder / name / file)
    name_as_published(folder / "text_encoder" / "model.safetensors")
    shutil.copy(Path(__file__).with_name("SDXL_CARD.md"), folder / "README.md")
    for weights in folder.glob("*/*.safetensors"):
        weights.chmod(0o644)
    (folder / "easel.json").write_text(json.dumps(CARD, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    os.replace(folder, out)


@torch.no_grad()
def _rescale(coder: AutoencoderKL) -> None:
    """Give the coder SDXL's factor: its latents grow by what the factor shrinks."""
    ratio = vae.SCALE / SCALE
    channels = coder.config.latent_channels
    coder.quant_conv.weight[:channels] *= ratio
    coder.quant_conv.bias[:channels] *= ratio
    coder.post_quant_conv.weight /= ratio
    coder.register_to_config(scaling_factor=SCALE)


CARD = {
    "title": "Pocket SDXL",
    "description": (
        "SDXL's architecture in miniature, drawing the same fourteen things as Pocket SD1, and heeding the sizes "
        "that SDXL is told. Draws in seconds without a graphics card."
    ),
    "family": "sdxl",
    "defaults": {
        "width": 128, "height": 128, "steps": 20, "guidance": 5.0, "sampler": "DPM++ 2M", "schedule": "Karras",
    },
    "licence": "Apache-2.0",
    "examples": ["a red house under a yellow moon, night sky", "a black cat in the snow", "an orange fish at sea"],
}  # fmt: skip


def run(work: Path, shipped: Path, minutes: float) -> None:
    """Train, or go on."""
    data = dataset.Dataset.open(work / "data" / "train")
    coder = AutoencoderKL.from_pretrained(work / "vae").eval()
    folder = work / "sdxl"
    folder.mkdir(exist_ok=True)
    if not (folder / "more.npz").exists():
        np.savez(folder / "more.npz", **make_more(data, coder))
        log.info("blurred and cropped examples are made")
    more = dict(np.load(folder / "more.npz"))
    latents = torch.from_numpy(np.load(work / "latents.npy"))
    pocket = begin(data.tokenizer, shipped)

    for kept, until in ((text_encoder.SHORT, 0.6), (tokenizer.CONTEXT, 1.0)):

        def show(path: Path, kept: int = kept) -> None:
            rows = [torch.from_numpy(tokenizer.encode(data.tokenizer, texts)[:, :kept].astype(np.int64))
                    for texts in (list(denoiser.PREVIEWS), [""] * len(denoiser.PREVIEWS))]  # fmt: skip
            denoiser.save_sheet(coder.decode(sample(pocket, *rows) / vae.SCALE).sample, path)

        lessons = LessonsXL(data, latents, more, kept, torch.device("cpu"))
        denoiser.train(pocket, lessons, folder, minutes, torch.no_grad()(show), learning_rate=1e-3, until=until)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the diffusers folder to write")
    parser.add_argument("--work", type=Path, default=Path("/tmp/pocket"), help="data and checkpoints")
    parser.add_argument("--begin-from", type=Path, default=Path("models/Stable-diffusion/pocket-sd1"))
    parser.add_argument("--minutes", type=float, default=60, help="training time in all")
    parser.add_argument("--export-only", action="store_true", help="ship the latest checkpoint and stop")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if not options.export_only:
        run(options.work, options.begin_from, options.minutes)
    export(options.work, options.out)


if __name__ == "__main__":
    main()
