"""How each class of VAE is asked: the latents that networks denoise are its own, shifted and scaled."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLFlux2, AutoencoderKLQwenImage
from torch import Tensor, nn


def to_pixels(vae: nn.Module, latents: Tensor) -> Tensor:
    """Return the picture [1,3,H,W] in -1 … 1 of latents [1,C,h,w] that are in the VAE's precision."""
    if isinstance(vae, AutoencoderKLQwenImage):  # it knows frames
        return vae.decode(latents.unsqueeze(2), return_dict=False)[0][:, :, 0]
    return vae.decode(latents, return_dict=False)[0]


def to_latents(vae: nn.Module, pixels: Tensor) -> Tensor:
    """Return the VAE's latents [1,C,h,w] of a picture [1,3,H,W] in -1 … 1: the mean, where it gives a distribution."""
    if isinstance(vae, AutoencoderKLQwenImage):
        return vae.encode(pixels.unsqueeze(2), return_dict=False)[0].mean[:, :, 0]
    encoded = vae.encode(pixels, return_dict=False)[0]
    return encoded if isinstance(encoded, Tensor) else encoded.mean  # TAESD has no distribution


def normalised(vae: nn.Module, latents: Tensor) -> Tensor:
    """Return the VAE's latents [1,C,h,w], float32, as networks denoise them."""
    if isinstance(vae, AutoencoderKLFlux2):
        mean, deviation = _batch_spread(vae, latents)
        return (latents - mean) / deviation
    if (spread := _spread(vae, latents)) is not None:
        return (latents - spread[0]) * (_scale(vae) / spread[1])
    return (latents - (vae.config.get("shift_factor") or 0)) * vae.config.scaling_factor


def denormalised(vae: nn.Module, latents: Tensor) -> Tensor:
    """Return denoised latents [1,C,h,w], float32, as the VAE decodes them."""
    if isinstance(vae, AutoencoderKLFlux2):
        mean, deviation = _batch_spread(vae, latents)
        return latents * deviation + mean
    if (spread := _spread(vae, latents)) is not None:
        return latents * (spread[1] / _scale(vae)) + spread[0]
    return latents / vae.config.scaling_factor + (vae.config.get("shift_factor") or 0)


def _batch_spread(vae: AutoencoderKLFlux2, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation [1,C,h,w] of Flux.2's latents: the VAE has them for each of four neighbours."""
    norm, (height, width) = vae.bn, like.shape[-2:]
    numbers = norm.running_mean.float(), (norm.running_var.float() + vae.config.batch_norm_eps).sqrt()
    squares = (each.reshape(1, -1, 2, 2).repeat(1, 1, -(-height // 2), -(-width // 2)) for each in numbers)
    mean, deviation = (each[..., :height, :width].to(like.dtype) for each in squares)
    return mean, deviation


def _scale(vae: nn.Module) -> float:
    """Return what the spread of a VAE's latents is multiplied with besides."""
    return float(vae.config.get("scaling_factor") or 1.0)


def _spread(vae: nn.Module, like: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return mean and deviation [1,C,1,1] of the channels of the VAE's own latents, if its configuration has them."""
    mean, deviation = vae.config.get("latents_mean"), vae.config.get("latents_std")
    if mean is None or deviation is None:
        return None
    spread = torch.tensor([mean, deviation], dtype=like.dtype, device=like.device)
    return spread[0].reshape(1, -1, 1, 1), spread[1].reshape(1, -1, 1, 1)
