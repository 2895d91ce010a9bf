"""Stable Diffusion XL: two text encoders side by side, a text as a whole, and the picture's size as a condition.

(Podell et al. 2023, arXiv:2307.01952.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from webui.engine.condition import Condition, Encoding
from webui.engine.denoise import Predict
from webui.engine.families.clip import Rows, encode_text
from webui.engine.families.distilled import told_guidance
from webui.engine.families.sd1 import SHRINK, latent_shape, noise_levels
from webui.engine.families.unets import ask_unet
from webui.weights.memory import Resident

__all__ = ["LATENT_TO_RGB", "SHRINK", "encode", "latent_shape", "make_predict", "noise_levels"]

# Latent channel → red, green, blue in -1 … 1: a least-squares fit like that of SD1.
LATENT_TO_RGB: Sequence[tuple[float, float, float]] = (
    (0.392, 0.405, 0.455),
    (-0.263, -0.020, 0.065),
    (0.057, 0.169, -0.076),
    (-0.311, -0.236, -0.208),
)


def make_predict(model: Resident, network: nn.Module) -> Predict:
    """Return the network call. Float32 latents enter and leave it; inside it computes in its own dtype."""
    dtype = model.dtype("unet")
    known: dict[tuple[int, int, int], Tensor] = {}  # one transfer for all steps

    def predict(latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        batch, _, height, width = latents.shape
        if (batch, height, width) not in known:
            known[batch, height, width] = model.place(tell_size(width, height).expand(batch, -1))
        told = {"text_embeds": condition.pooled, "time_ids": known[batch, height, width]}
        return ask_unet(network, dtype, latents, timestep, condition, added_cond_kwargs=told)

    return predict


def tell_size(width: int, height: int) -> Tensor:
    """Return what the network is told [6] about a picture of `width` × `height` latents: that it was as large as this
    before training, is not cropped, and is to become as large (A1111's choice)."""
    return torch.tensor([height, width, 0, 0, height, width], dtype=torch.float32) * SHRINK


@torch.inference_mode()
def encode(model: Resident, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
    """Return the condition of `text`, float32, on the device: the last but one layer of both encoders, without a final
    norm, and the second one's view of the first chunk as a whole.

    An empty negative prompt is nothing at all where the model says so. Clip skip does not apply.
    """

    def encode_first(rows: Rows) -> Tensor:
        with model.on_device("text_encoder") as encoder:
            return encoder(model.place(torch.tensor(rows)), output_hidden_states=True).hidden_states[-2].float()

    first = encode_text(model.tokenizers["text_encoder"], text, encoding, encode_first)
    second, pooled = encode_by_second(model, text, encoding)
    states, guidance = torch.cat([first, second], -1), told_guidance(model, encoding)
    if negative and not text and model.checkpoint.zero_negative:
        return Condition(torch.zeros_like(states), torch.zeros_like(pooled), guidance)
    return Condition(states, pooled, guidance)


def encode_by_second(model: Resident, text: str, encoding: Encoding) -> tuple[Tensor, Tensor]:
    """Return the second encoder's last but one states [77 · chunks,D] of a text, and its view [P] of the first chunk as
    a whole."""
    pooled: list[Tensor] = []

    def encode_rows(rows: Rows) -> Tensor:
        with model.on_device("text_encoder_2") as encoder:
            seen = encoder(model.place(torch.tensor(rows)), output_hidden_states=True)
        pooled.append(seen.text_embeds[0].float())
        return seen.hidden_states[-2].float()

    states = encode_text(model.tokenizers["text_encoder_2"], text, encoding, encode_rows)
    return states, pooled[0]
