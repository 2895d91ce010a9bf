"""Sana: a transformer of flow matching with linear attention, on latents of 32 pixels a side, told a text by Gemma 2.

(Xie et al. 2024, arXiv:2410.10629.)
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from webui.engine.condition import Condition, Encoding
from webui.engine.denoise import FlowLevels, NoiseLevels, Predict
from webui.engine.families.patches import fill_up
from webui.engine.families.pieces import read_plain_states, read_row, weigh_states
from webui.weights.checkpoint import FlowSchedule
from webui.weights.families.sana import CHANNELS, SHRINK
from webui.weights.memory import Resident

__all__ = ["LATENT_TO_RGB", "SHRINK", "encode", "latent_shape", "make_predict", "noise_levels"]

LONGEST = 300  # tokens of Gemma that the network sees
LATENT_TO_RGB: Sequence[tuple[float, float, float]] = ()  # the VAE of each model tells


def noise_levels(model: Resident, size: tuple[int, int]) -> NoiseLevels:
    """Return the sigmas the model was trained on, for pictures of `size` (width and height, pixels)."""
    assert isinstance(model.checkpoint.noise, FlowSchedule)
    _, height, width = latent_shape(*size)
    return FlowLevels(model.checkpoint.noise, height * width)


def latent_shape(width: int, height: int) -> tuple[int, int, int]:
    """Return [C,h,w] of the latents of one image of `width` × `height` pixels: the last ones may reach beyond it."""
    return CHANNELS, -(-height // SHRINK), -(-width // SHRINK)


def make_predict(model: Resident, network: nn.Module) -> Predict:
    """Return the network call. Float32 latents enter and leave it; inside it computes in its own dtype."""
    dtype = model.dtype(model.denoiser)
    config = model.checkpoint.configs["transformer"]
    scale, patch = config.get("timestep_scale", 1.0), config.get("patch_size", 1)

    def predict(latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        batch, channels, height, width = latents.shape
        output = network(
            fill_up(latents, patch).to(dtype),
            encoder_hidden_states=condition.states,
            encoder_attention_mask=condition.mask,
            timestep=timestep.expand(batch) * scale,
            return_dict=False,
        )[0]
        return output.float()[:, :channels, :height, :width]

    return predict


@torch.inference_mode()
def encode(model: Resident, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
    """Return the condition of `text`, float32, on the device: Gemma's view of it in small letters.

    A prompt is read behind the instruction that the model was trained with, to describe the picture in more detail; the
    network sees the first token and the last ones. A negative prompt is read alone. Emphasis acts on the states; clip
    skip and `BREAK` do not apply.
    """
    tokenizer = model.piece_tokenizers["text_encoder"]
    instruction = "" if negative else read_instruction()
    ahead = len(tokenizer.leading) + len(tokenizer.encode(instruction)) - 2 if instruction else 0
    row = read_row(
        tokenizer, text.strip(), encoding.emphasis, before=instruction, lower=True,
        most=LONGEST + ahead, padded=LONGEST + ahead,
    )  # fmt: skip
    seen = [0, *range(len(row.tokens) - LONGEST + 1, len(row.tokens))]
    states = read_plain_states(model, "text_encoder", row)[seen]
    weights = [row.weights[place] for place in seen]
    return Condition(weigh_states(states, weights, encoding.emphasis), mask=model.place(row.mask[seen]))


@functools.cache
def read_instruction() -> str:
    """Return the instruction that the model was trained to read before a prompt, as diffusers' pipeline has it."""
    from diffusers import SanaPipeline  # only here: it takes a second

    lines = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
    return "\n".join(lines)
