"""Flux's denoiser in miniature: a transformer over text and picture that learns velocities, and guidance after them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from diffusers.models.transformers.transformer_flux import FluxAttention
from torch import Tensor, nn
from transformers import CLIPTextModel, T5EncoderModel

from tools.pocket import denoiser, text_encoder
from tools.pocket.dataset import Dataset
from tools.pocket.denoiser import READ_CLASSES, Examples
from webui.engine.families.flux import pack, unpack

HEADS, HEAD_WIDTH = 6, 32
AXES = (4, 14, 14)  # of a head, how much turns with nothing, with the row and with the column: Flux's, by four
DOUBLE, SINGLE = 3, 6  # blocks
READ_AFTER = 3  # single blocks
SIDE = 8  # tokens a side of a picture of 128 pixels
SCHEDULE = {
    "num_train_timesteps": 1000, "shift": 3.0, "use_dynamic_shifting": True, "base_shift": 0.9, "max_shift": 1.15,
    "base_image_seq_len": SIDE**2, "max_image_seq_len": 16 * SIDE**2,
}  # fmt: skip
MIDDLE, SWING = 0.6, 1.1  # of the times' logits, with which training draws them
PLAIN, STRONGEST = 1.0, 6.0  # guidance that is told
GUIDED = 0.75  # share of a batch that is told more than PLAIN, once guidance is learnt


def new_transformer(text_width: int, pooled_width: int) -> FluxTransformer2DModel:
    """Flux's pattern with 3 and 6 blocks of width 192, beginning with all blocks half open and nothing modulated."""
    network = FluxTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=DOUBLE, num_single_layers=SINGLE, attention_head_dim=HEAD_WIDTH,
        num_attention_heads=HEADS, joint_attention_dim=text_width, pooled_projection_dim=pooled_width,
        guidance_embeds=True, axes_dims_rope=AXES,
    )  # fmt: skip
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" in name and ".linear." in name:
                parameter.zero_()
        for block in network.transformer_blocks:
            for norm in (block.norm1, block.norm1_context):
                for gate in (2, 5):
                    norm.linear.bias.unflatten(0, (6, -1))[gate] = 0.5
        for block in network.single_transformer_blocks:
            block.norm.linear.bias.unflatten(0, (3, -1))[2] = 0.5
    return network


class PlainAttention:
    """Attention as two matrix products and a softmax, which a CPU trains faster than the fused kernel."""

    def __call__(
        self,
        attention: FluxAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """One attention layer over texts and pictures, [n, length, width] in and out."""

        def split(states: Tensor) -> Tensor:
            return states.unflatten(-1, (attention.heads, -1)).transpose(1, 2)

        assert image_rotary_emb is not None
        query = attention.norm_q(split(attention.to_q(hidden_states)))
        key = attention.norm_k(split(attention.to_k(hidden_states)))
        value = split(attention.to_v(hidden_states))
        if encoder_hidden_states is not None:
            added = encoder_hidden_states
            query = torch.cat([attention.norm_added_q(split(attention.add_q_proj(added))), query], 2)
            key = torch.cat([attention.norm_added_k(split(attention.add_k_proj(added))), key], 2)
            value = torch.cat([split(attention.add_v_proj(added)), value], 2)
        query, key = (_turn(states, *image_rotary_emb).to(value.dtype) for states in (query, key))
        weights = ((query * HEAD_WIDTH**-0.5) @ key.transpose(-1, -2)).softmax(-1)
        seen = (weights.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        if encoder_hidden_states is None:
            return seen
        length = encoder_hidden_states.shape[1]
        return attention.to_out[0](seen[:, length:]), attention.to_add_out(seen[:, :length])


def _turn(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn neighbouring pairs of each head by their token's place."""
    real, imaginary = states.unflatten(-1, (-1, 2)).unbind(-1)
    return states * cosine + torch.stack([-imaginary, real], -1).flatten(-2) * sine


class PocketFlux(nn.Module):
    """Both text encoders and the denoiser as one function, with a reader of the features for training.

    CLIP is taken over from pocket SD1 and stays as it is; T5 learns along. The reader is pocket SD1's idea: it tells
    which object covers which cell.
    """

    def __init__(self, text: T5EncoderModel, clip: CLIPTextModel, transformer: FluxTransformer2DModel) -> None:
        super().__init__()
        self.text = text
        self.clip = clip.requires_grad_(False).eval()
        self.transformer = transformer
        for block in (*transformer.transformer_blocks, *transformer.single_transformer_blocks):
            block.attn.set_processor(PlainAttention())
        self.reader = nn.Linear(transformer.inner_dim, 4 * READ_CLASSES)

    def forward(self, words: Tensor, noisy: Tensor, times: Tensor, guidance: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted velocity, and scores [n, objects + 1, 16, 16].

        `words` are T5's tokens and behind them CLIP's, `times` run to 1000, `guidance` [n] is what is told.
        """
        return self.denoise(*self.encode(words), noisy, times, guidance)

    def encode(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """T5's states [n, length, width] and CLIP's pooled state [n, width]."""
        tokens, clips = words[:, : -text_encoder.SHORT], words[:, -text_encoder.SHORT :]
        with torch.no_grad():
            pooled = self.clip(clips).pooler_output
        return self.text(tokens).last_hidden_state, pooled

    def denoise(
        self, states: Tensor, pooled: Tensor, noisy: Tensor, times: Tensor, guidance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """FluxTransformer2DModel.forward, spelt out to get at the features."""
        network = self.transformer
        places = network.pos_embed(torch.cat([noisy.new_zeros(states.shape[1], 3), _places(noisy)]))
        picture, text = network.x_embedder(pack(noisy)), network.context_embedder(states)
        told = network.time_text_embed(times, guidance * 1000, pooled)
        for block in network.transformer_blocks:
            text, picture = block(hidden_states=picture, encoder_hidden_states=text, temb=told, image_rotary_emb=places)
        features = picture
        for number, block in enumerate(network.single_transformer_blocks, 1):
            text, picture = block(hidden_states=picture, encoder_hidden_states=text, temb=told, image_rotary_emb=places)
            if number == READ_AFTER:
                features = picture
        velocity = network.proj_out(network.norm_out(picture, told))
        return unpack(velocity, SIDE, SIDE), unpack(self.reader(features), SIDE, SIDE)

    def extend_positions(self, known: int) -> None:
        """Nothing to do: T5 knows distances, not positions."""


def _places(like: Tensor) -> Tensor:
    """Where each token of a picture stands: 0, row, column."""
    down, across = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    places = torch.stack([torch.zeros_like(down), down, across], -1).flatten(0, 1)
    return places.to(like)


class FlowNoising:
    """Rectified flow: latents and noise in a straight mixture (Esser et al. 2024, arXiv:2403.03206)."""

    def draw_times(self, count: int) -> Tensor:
        """Stratified over a logit-normal density."""
        quantiles = (torch.randperm(count) + torch.rand(count)) / count
        return 1000 * torch.sigmoid(MIDDLE + SWING * torch.special.ndtri(quantiles.clamp(1e-4, 1 - 1e-4)))

    def add(self, clean: Tensor, noise: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """The mixture, and the velocity from the latents to the noise."""
        share = (times / 1000).view(-1, 1, 1, 1)
        return (1 - share) * clean + share * noise, noise - clean

    def importance(self, times: Tensor) -> Tensor:
        """All alike: the density is what stresses the middle."""
        return torch.ones_like(times)


class Lessons(denoiser.Lessons):
    """Examples whose captions both encoders read; told PLAIN guidance, that is none.

    `words` [pictures, captions, CONTEXT] are T5's tokens, to be cut to `tokens_kept`.
    """

    def __init__(
        self, data: Dataset, latents: Tensor, words: Tensor, nothing: Tensor, tokens_kept: int, end: int
    ) -> None:
        clips = torch.from_numpy(data.tokens[:, :, : text_encoder.SHORT].astype(np.int64))
        tokens = torch.cat([cut(words, tokens_kept, end), clips], -1)
        covers = torch.from_numpy(data.covers.astype(np.int64))
        super().__init__(FlowNoising(), latents, tokens, nothing, covers, tokens_kept, torch.device("cpu"))

    def make(self, chosen: Tensor) -> Examples:
        return replace(super().make(chosen), told=(torch.full((len(chosen),), PLAIN),))


def cut(words: Tensor, length: int, end: int) -> Tensor:
    """Shorten rows of T5's tokens; what is cut off still ends."""
    short = words[..., :length].clone()
    short[..., -1] = torch.where((short == end).any(-1), short[..., -1], end)
    return short


class GuidedLessons(Lessons):
    """Most examples tell a guidance, and want what a teacher makes of it with two looks (Meng et al. 2023,
    arXiv:2210.03142): its velocity without the caption, and as many times as is told the way from there to that with
    it."""

    def __init__(self, teacher: PocketFlux, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.teacher = teacher.eval()

    @torch.no_grad()
    def make(self, chosen: Tensor) -> Examples:
        plain = super().make(chosen)
        count = round(GUIDED * len(chosen))
        guidance = PLAIN + (STRONGEST - PLAIN) * torch.rand(count)
        words = torch.cat([self.empty.expand(count, -1), plain.words[:count]])
        noisy, times = plain.noisy[:count].repeat(2, 1, 1, 1), plain.times[:count].repeat(2)
        with torch.autocast("cpu", torch.bfloat16):
            velocity, _ = self.teacher(words, noisy, times, torch.full((2 * count,), PLAIN))
        without, with_words = velocity.float().chunk(2)
        wanted = without + guidance.view(-1, 1, 1, 1) * (with_words - without)
        return replace(
            plain,
            wanted=torch.cat([wanted, plain.wanted[count:]]),
            told=(torch.cat([guidance, torch.full((len(chosen) - count,), PLAIN)]),),
        )


@torch.no_grad()
def sample(
    pocket: PocketFlux, words: Tensor, nothing: Tensor, *, steps: int = 20, guidance: float = 4.0, told: bool = False
) -> Tensor:
    """Latents for token rows by Euler's method; guided by two looks, or by one that is told."""
    scheduler = FlowMatchEulerDiscreteScheduler(**SCHEDULE)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps).tolist(), mu=SCHEDULE["base_shift"])
    rows = words if told else torch.cat([nothing.expand_as(words), words])
    states, pooled = pocket.encode(rows)
    tell = torch.full((len(rows),), guidance if told else PLAIN)
    latents = torch.randn(len(words), 16, 2 * SIDE, 2 * SIDE, generator=torch.Generator().manual_seed(1))
    for time in scheduler.timesteps:
        with torch.autocast("cpu", torch.bfloat16):
            both = latents.repeat(len(rows) // len(words), 1, 1, 1)
            velocity, _ = pocket.denoise(states, pooled, both, time.expand(len(rows)), tell)
        velocity = velocity.float()
        if not told:
            without, with_words = velocity.chunk(2)
            velocity = without + guidance * (with_words - without)
        latents = scheduler.step(velocity, time, latents).prev_sample
    return latents
