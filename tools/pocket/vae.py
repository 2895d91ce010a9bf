"""The picture coder: an AutoencoderKL whose latents are anchored to the principal components of 8x8 patches.

The anchor makes latents known in advance, so the denoiser can begin to learn on the components while the coder
still learns to draw.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor
from typing_extensions import Self

from tools.pocket.dataset import Dataset
from tools.pocket.training import (
    Average,
    Optimisers,
    Progress,
    as_tensor,
    compile_safe,
    load_checkpoint,
    save_checkpoint,
)  # fmt: skip

SCALE = 0.18215
NOISE = 0.06  # the spread of the posterior, in units of the latents' own spread
CROP = 64
BATCH = 12
log = logging.getLogger(__name__)


def new_vae() -> AutoencoderKL:
    """SD1's coder with one block a level and 32 to 64 channels; groups follow the rule min(32, first // 4)."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, sample_size=128, scaling_factor=SCALE,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=(32, 32, 64, 64), layers_per_block=1, norm_num_groups=8,
    )  # fmt: skip


@dataclass(frozen=True)
class Components:
    """Principal components of 8x8 patches, more or less whitened: the first, linear latents."""

    mean: Tensor  # [192]
    into: Tensor  # [192, channels]
    back: Tensor  # [channels, 192]

    @classmethod
    def fit(cls, pictures: np.ndarray, channels: int = 4, whitening: float = 1.0) -> Self:
        """From some thousand pictures; with `whitening` 1 all components spread alike, with 0 as in the pictures."""
        patches = _patches(as_tensor(np.array(pictures))).reshape(-1, 192)
        mean = patches.mean(0)
        _, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
        basis = vectors[:, -channels:].flip(1)
        spread = ((patches - mean) @ basis).std(0)
        size = spread**whitening * (spread ** (1 - whitening)).square().mean().sqrt()
        return cls(mean, basis / size, size[:, None] * basis.T)

    def turn(self, matrix: Tensor) -> Self:
        """The same space seen along other axes: the orthogonal `matrix` [channels, channels] times the latents."""
        return replace(self, into=self.into @ matrix.T, back=matrix @ self.back)

    def encode(self, images: Tensor) -> Tensor:
        """[n, 3, h, w] to [n, channels, h/8, w/8], of unit spread in the mean."""
        return ((_patches(images) - self.mean) @ self.into).permute(0, 3, 1, 2)

    def decode(self, latents: Tensor) -> Tensor:
        """The reverse, as good as so few numbers a patch allow."""
        patches = latents.permute(0, 2, 3, 1) @ self.back + self.mean
        n, h, w, _ = patches.shape
        return patches.reshape(n, h, w, 8, 8, 3).permute(0, 5, 1, 3, 2, 4).reshape(n, 3, h * 8, w * 8)


def _patches(images: Tensor) -> Tensor:
    n, _, height, width = images.shape
    last = images.permute(0, 2, 3, 1).reshape(n, height // 8, 8, width // 8, 8, 3)
    return last.permute(0, 1, 3, 2, 4, 5).reshape(n, height // 8, width // 8, 192)


def _crops(data: Dataset, rng: np.random.Generator, size: int, count: int) -> Tensor:
    """Random squares aligned to the patches, most of them on an object."""
    out = np.empty((count, size, size, 3), np.uint8)
    cells = size // 8
    for index in range(count):
        which = int(rng.integers(len(data.pictures)))
        row, column = rng.integers(0, 16 - cells + 1, 2)
        if cells < 16 and rng.random() < 0.75:
            covered = np.argwhere(data.covers[which])
            if len(covered):
                target = covered[rng.integers(len(covered))] - cells // 2 + rng.integers(-3, 4, 2)
                row, column = np.clip(target, 0, 16 - cells)
        top, left = int(row) * 8, int(column) * 8
        out[index] = data.pictures[which, top : top + size, left : left + size]
    return as_tensor(out)


def edges(a: Tensor, b: Tensor) -> Tensor:
    """How much the gradients of two pictures differ, at three scales."""
    total = torch.zeros(())
    for scale in range(3):
        if scale:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        d = a - b
        total = total + (d[..., 1:] - d[..., :-1]).abs().mean() + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()
    return total


@torch.no_grad()
def psnr(vae: AutoencoderKL, images: Tensor) -> float:
    """Mean decibels of encode and decode."""
    back = torch.cat([vae.decode(vae.encode(part).latent_dist.mode()).sample for part in images.split(16)])
    return float((-10 * ((back.clamp(-1, 1) - images) / 2).pow(2).mean((1, 2, 3)).log10()).mean())


@dataclass(frozen=True)
class Anchor:
    """What the latents are held to: their place for given images, how firmly, and the noise that the decoder meets."""

    encode: Callable[[Tensor], Tensor]  # [n, 3, h, w] to [n, channels, h/8, w/8]
    weight: float = 0.2
    noise: float = NOISE


def encode(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """The mean latents [n, channels, h/8, w/8], unscaled."""
    features = vae.encoder(images)
    return (features if vae.quant_conv is None else vae.quant_conv(features)).chunk(2, 1)[0]


def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """The reverse."""
    return vae.decoder(latents if vae.post_quant_conv is None else vae.post_quant_conv(latents))


def train(
    data: Dataset,
    test: Dataset,
    folder: Path,
    minutes: float,
    *,
    start: AutoencoderKL | None = None,
    anchor: Anchor | None = None,
    whole: float = 0.2,
    learning_rate: float = 1.2e-3,
) -> AutoencoderKL:
    """Train, or go on training, for a total of `minutes`; the last share `whole` on whole pictures."""
    vae = compile_safe(start or new_vae())
    anchor = anchor or Anchor(Components.fit(data.pictures[:2000]).encode)
    channels = vae.config.latent_channels
    average = Average(vae.parameters(), 0.995)
    named = [(name, parameter, 1.0) for name, parameter in vae.named_parameters()]
    optimisers = Optimisers(named, ("conv_in", "conv_out", "quant_conv"))
    saved = load_checkpoint(folder / "vae.pt")
    step, spent = 0, 0.0
    if saved is not None:
        vae.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        optimisers.load_state_dict(saved["optimisers"])
        step, spent = saved["step"], saved["spent"]
    rng = np.random.default_rng(step + 1)
    check = as_tensor(np.array(test.pictures[:48]))

    def forward(images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean = encode(vae, images)
        return decode(vae, mean + noise), mean

    compiled = torch.compile(forward, dynamic=False)
    for size, batch in ((CROP, BATCH), (128, BATCH // 3)):  # compile first, so that the budget counts learning only
        with torch.autocast("cpu", torch.bfloat16):
            back, _ = compiled(_crops(data, rng, size, batch), torch.zeros(batch, channels, size // 8, size // 8))
        back.float().abs().mean().backward()
        gradient = vae.encoder.conv_in.weight.grad
        if gradient is None or not gradient.norm() > 0:
            raise RuntimeError("the compiled coder passes no gradient to its encoder")
        vae.zero_grad()
    progress = Progress(minutes, learning_rate, spent)
    report = progress.spent + 30
    while progress.share < 1:
        size, batch = (CROP, BATCH) if progress.share < 1 - whole else (128, BATCH // 3)
        images = _crops(data, rng, size, batch)
        with torch.autocast("cpu", torch.bfloat16):
            noise = torch.randn(batch, channels, size // 8, size // 8) * anchor.noise
            back, mean = compiled(images, noise)
        back, mean = back.float(), mean.float()
        difference = back - images
        loss = difference.abs().mean() + 0.5 * edges(back, images) + 0.5 * difference.pow(2).mean()
        astray = (mean - anchor.encode(images)).pow(2).mean()
        (loss + anchor.weight * astray).backward()
        optimisers.step(progress.learning_rate)
        average.update()
        step += 1
        if progress.spent > report or progress.share >= 1:
            report = progress.spent + 60
            average.swap()
            quality = psnr(vae, check)
            average.swap()
            log.info(
                "vae %.1f min, step %d, loss %.4f, anchor %.4f, spread %.2f, %.2f dB",
                progress.spent / 60, step, loss.item(), astray.item(), mean.std().item(), quality,
            )  # fmt: skip
            save_checkpoint(
                folder / "vae.pt", model=vae.state_dict(), average=average.state_dict(),
                optimisers=optimisers.state_dict(), step=step, spent=progress.spent,
            )  # fmt: skip
    average.swap()
    return vae


@torch.no_grad()
def encode_all(vae: AutoencoderKL, pictures: np.ndarray, batch: int = 50) -> Tensor:
    """The latents of many pictures, without noise and unscaled."""
    parts = []
    for start in range(0, len(pictures), batch):
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(encode(vae, as_tensor(np.array(pictures[start : start + batch]))).float())
    return torch.cat(parts)


@torch.no_grad()
def fold_scale(vae: AutoencoderKL, latents: Tensor) -> None:
    """Make SD1's fixed scale hold: shift and stretch inside quant_conv and its inverse inside post_quant_conv.

    Also sets the posterior's spread, which training keeps outside the network, to the constant NOISE.
    """
    shift = latents.mean((0, 2, 3))
    stretch = latents.std((0, 2, 3)) * SCALE
    quant, post = vae.quant_conv, vae.post_quant_conv
    quant.weight[:4] /= stretch.view(4, 1, 1, 1)
    quant.bias[:4] = (quant.bias[:4] - shift) / stretch
    quant.weight[4:] = 0
    quant.bias[4:] = 2 * (NOISE / stretch).log()
    post.bias += post.weight[:, :, 0, 0] @ shift
    post.weight *= stretch.view(1, 4, 1, 1)
