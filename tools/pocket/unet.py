"""The denoiser, trained together with the caption encoder."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from transformers import CLIPTextModel

from tools.pocket import denoiser, text_encoder, tokenizer
from tools.pocket.dataset import Dataset
from tools.pocket.denoiser import PREVIEWS, READ_CLASSES, save_sheet

CHANNELS = (64, 128, 160)
SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def new_unet(channels: tuple[int, ...] = CHANNELS, heads: int = 8) -> UNet2DConditionModel:
    """SD1's block pattern with fewer levels; groups follow the rule min(32, first // 4), as for real SD1."""
    levels = len(channels)
    return UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=channels, layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
        cross_attention_dim=text_encoder.WIDTH, attention_head_dim=heads, norm_num_groups=min(32, channels[0] // 4),
    )  # fmt: skip


class PlainAttention:
    """Attention as two matrix products and a softmax: on a CPU, with small heads, 2 to 8 times faster to train
    than the fused kernel.  Has no parameters, so nothing of it stays in the checkpoint."""

    def __call__(
        self, attention: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: object
    ) -> Tensor:
        """One attention layer, [n, length, width] in and out."""
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states

        def split(states: Tensor) -> Tensor:
            return states.unflatten(-1, (attention.heads, -1)).transpose(1, 2)

        query, key, value = (
            split(attention.to_q(hidden_states)),
            split(attention.to_k(source)),
            split(attention.to_v(source)),
        )
        weights = ((query * attention.scale) @ key.transpose(-1, -2)).softmax(-1)
        return attention.to_out[0]((weights.to(value.dtype) @ value).transpose(1, 2).flatten(2))


class Pocket(nn.Module):
    """Caption encoder and denoiser as one function, with a reader of the features for training.

    The reader looks at the features before the last level and says which object covers which cell: exact labels
    teach the trunk "what is where" long before the pixels' own error would.
    """

    def __init__(self, text: CLIPTextModel, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.text = text
        self.unet = unet
        unet.set_attn_processor(PlainAttention())
        self.reader = nn.Conv2d(unet.config.block_out_channels[1], READ_CLASSES, 1)

    def forward(self, tokens: Tensor, noisy: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted noise, and scores [n, objects + 1, 16, 16]."""
        return self.denoise(self.text(tokens).last_hidden_state, noisy, self.embed(times, noisy))

    def embed(self, times: Tensor, like: Tensor) -> Tensor:
        """What the blocks are told of the time: [n, width of the embedding]."""
        return self.unet.time_embedding(self.unet.time_proj(times).to(like.dtype))

    def extend_positions(self, known: int) -> None:
        """See `text_encoder.extend_positions`."""
        text_encoder.extend_positions(self.text, known)

    def denoise(self, states: Tensor, noisy: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """UNet2DConditionModel.forward, spelt out to get at the features."""
        unet = self.unet
        sample = unet.conv_in(noisy)
        skips = [sample]
        for block in unet.down_blocks:
            if hasattr(block, "attentions"):
                sample, kept = block(sample, embedding, encoder_hidden_states=states)
            else:
                sample, kept = block(sample, embedding)
            skips += kept
        sample = unet.mid_block(sample, embedding, encoder_hidden_states=states)
        features = sample
        for index, block in enumerate(unet.up_blocks):
            count = len(block.resnets)
            taken, skips = tuple(skips[-count:]), skips[:-count]
            if hasattr(block, "attentions"):
                sample = block(sample, taken, embedding, encoder_hidden_states=states)
            else:
                sample = block(sample, taken, embedding)
            if index == len(unet.up_blocks) - 2:
                features = sample
        return unet.conv_out(unet.conv_act(unet.conv_norm_out(sample))), self.reader(features)


class Noising:
    """The forward process, how times are drawn and how their errors count."""

    def __init__(self, device: torch.device) -> None:
        root = torch.linspace(SCHEDULE["beta_start"] ** 0.5, SCHEDULE["beta_end"] ** 0.5, 1000, dtype=torch.float64)
        self.kept = torch.cumprod(1 - root**2, 0).float().to(device)
        ratio = self.kept / (1 - self.kept)
        importance = ratio.clamp(max=5) / ratio * (1 + 1 / ratio).sqrt()  # min-SNR-5, milder on pure noise
        density = importance.sqrt().clamp(min=0.35)
        self.density = density / density.sum()
        self.cumulative = self.density.cumsum(0)
        weight = importance / self.density
        self.weight = weight / (weight * self.density).sum()

    def draw_times(self, count: int) -> Tensor:
        """Stratified over the density."""
        quantiles = (torch.randperm(count) + torch.rand(count)) / count
        return torch.searchsorted(self.cumulative, quantiles.to(self.cumulative.device)).clamp(max=999)

    def add(self, clean: Tensor, noise: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy latents, and what is to be predicted of them: the noise."""
        kept = self.kept[times].view(-1, 1, 1, 1)
        return kept.sqrt() * clean + (1 - kept).sqrt() * noise, noise

    def importance(self, times: Tensor) -> Tensor:
        """How much an error at these times counts."""
        return self.weight[times]


class Lessons(denoiser.Lessons):
    """Captions cut to `tokens_kept` tokens, SD1's noise."""

    def __init__(self, data: Dataset, latents: Tensor, tokens_kept: int, device: torch.device) -> None:
        tokens = torch.from_numpy(data.tokens[:, :, :tokens_kept].astype(np.int64))
        covers = torch.from_numpy(data.covers.astype(np.int64))
        super().__init__(Noising(device), latents, tokens, _rows(data, [""], tokens_kept), covers, tokens_kept, device)


def _rows(data: Dataset, texts: Sequence[str], tokens_kept: int) -> Tensor:
    return torch.from_numpy(tokenizer.encode(data.tokenizer, list(texts))[:, :tokens_kept].astype(np.int64))


@torch.no_grad()
def sample(
    pocket: Pocket, words: Tensor, nothing: Tensor, *, steps: int = 20, guidance: float = 5.0, seed: int = 1
) -> Tensor:
    """Latents for token rows by DPM++ 2M on Karras sigmas."""
    scheduler = DPMSolverMultistepScheduler(**SCHEDULE, use_karras_sigmas=True)
    scheduler.set_timesteps(steps)
    device = pocket.unet.device
    states = pocket.text(torch.cat([nothing, words]).to(device)).last_hidden_state
    latents = torch.randn(len(words), 4, 16, 16, generator=torch.Generator().manual_seed(seed)).to(device)
    latents = latents * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        both = scheduler.scale_model_input(torch.cat([latents, latents]), time)
        with torch.autocast(device.type, torch.bfloat16):
            noise, _ = pocket.denoise(
                states,
                both.to(memory_format=torch.channels_last),
                pocket.embed(time.expand(len(both)).to(device), both),
            )
        without, with_words = noise.float().chunk(2)
        latents = scheduler.step(without + guidance * (with_words - without), time, latents).prev_sample
    return latents


def save_preview(
    pocket: Pocket, data: Dataset, decode: Callable[[Tensor], Tensor], path: Path, tokens_kept: int
) -> None:
    """A small contact sheet, to watch training by."""
    empty, words = _rows(data, [""] * len(PREVIEWS), tokens_kept), _rows(data, PREVIEWS, tokens_kept)
    save_sheet(decode(sample(pocket, words, empty).cpu()), path)
