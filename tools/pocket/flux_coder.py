"""Pocket Flux's picture coder: sixteen channels, near to what is linear in 8x8 patches.

The latents are known before anything is trained: principal components, half whitened, so that coarse things stand out
of noise before fine ones do, and turned so that the colours which programs read from Flux's latents come out about
right. The encoder learns to compute just them, the decoder to draw better from them than a linear map could.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from tools.pocket import vae
from tools.pocket.dataset import Dataset
from tools.pocket.training import as_tensor
from webui.engine.families.flux import LATENT_TO_RGB

CHANNELS = 16
SCALE, SHIFT = 0.3611, 0.1159  # Flux's factor on latents and what is taken off before
WHITENING = 0.5
FIRM = 0.2  # weight of the anchor, in units of the coder's own latents


def new_coder() -> AutoencoderKL:
    """Flux's coder, without convolutions between it and the latents; one block a level and 32 to 64 channels."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=CHANNELS, sample_size=128, scaling_factor=SCALE,
        shift_factor=SHIFT, use_quant_conv=False, use_post_quant_conv=False,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=(32, 32, 64, 64), layers_per_block=1, norm_num_groups=8,
    )  # fmt: skip


def components(data: Dataset, folder: Path) -> vae.Components:
    """The latents' linear definition, fitted once."""
    file = folder / "components.pt"
    if file.exists():
        return vae.Components(**torch.load(file, weights_only=True))
    found = vae.Components.fit(data.pictures[:2000], CHANNELS, WHITENING)
    colours = found.back.unflatten(1, (-1, 3)).mean(1).T  # a component's mean colour: [3, channels]
    left, _, right = torch.linalg.svd(torch.tensor(LATENT_TO_RGB) @ colours)
    found = found.turn(left @ right)  # the rotation that brings Flux's colours nearest to these (Procrustes)
    torch.save(asdict(found), file)
    return found


def train(data: Dataset, test: Dataset, shipped: Path, folder: Path, minutes: float) -> AutoencoderKL:
    """Train for `minutes`, from the layers of pocket SD1's coder that fit: all but those next to the latents."""
    linear = components(data, folder)

    def place(images: Tensor) -> Tensor:
        return linear.encode(images) / SCALE + SHIFT

    coder = new_coder()
    own = coder.state_dict()
    old = AutoencoderKL.from_pretrained(shipped / "vae").float().state_dict()
    coder.load_state_dict({name: old[name] if _fits(old, name, kept) else kept for name, kept in own.items()})
    anchor = vae.Anchor(place, FIRM, vae.NOISE / SCALE)
    return settle(vae.train(data, test, folder, minutes, start=coder, anchor=anchor))


def _fits(weights: dict[str, Tensor], name: str, other: Tensor) -> bool:
    return name in weights and weights[name].shape == other.shape


@torch.no_grad()
def settle(coder: AutoencoderKL) -> AutoencoderKL:
    """Set the posterior's spread, which training keeps outside the network, to the constant that the decoder knows."""
    last = coder.encoder.conv_out
    last.weight[CHANNELS:] = 0
    last.bias[CHANNELS:] = 2 * np.log(vae.NOISE / SCALE)
    return coder.to(memory_format=torch.contiguous_format)


def linear_latents(data: Dataset, folder: Path, batch: int = 500) -> Tensor:
    """What the denoiser learns to make, of all pictures: [n, 16, 16, 16] in half precision."""
    linear = components(data, folder)
    parts = [
        linear.encode(as_tensor(np.array(data.pictures[start : start + batch]))).half()
        for start in range(0, len(data.pictures), batch)
    ]
    return torch.cat(parts)
