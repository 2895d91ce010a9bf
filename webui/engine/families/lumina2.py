"""Lumina-Image 2.0: a transformer of flow matching that reads texts and pictures as one, told a text by Gemma 2.

(Qin et al. 2025, arXiv:2503.21758.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from webui.engine.condition import Condition, Encoding
from webui.engine.denoise import FlowLevels, NoiseLevels, Predict
from webui.engine.families.flux import LATENT_CHANNELS, LATENT_TO_RGB, SHRINK, latent_shape
from webui.engine.families.patches import fill_up
from webui.engine.families.pieces import read_row, read_states
from webui.weights.checkpoint import FlowSchedule
from webui.weights.memory import Resident

__all__ = ["LATENT_TO_RGB", "SHRINK", "encode", "latent_shape", "make_predict", "noise_levels"]

LONGEST = 256  # tokens of Gemma that it was trained on
TRAIN_STEPS = 1000
LAYER = -2  # of Gemma, whose states it was trained on
# What stood before every prompt in training.
SYSTEM = (
    "You are an assistant designed to generate superior images with the superior degree of image-text alignment based "
    "on textual prompts or user prompts. <Prompt Start> "
)


def noise_levels(model: Resident, size: tuple[int, int]) -> NoiseLevels:
    """Return the sigmas the model was trained on: the same for pictures of every size.

    Where a shift is to grow with the picture, diffusers counts channels in place of tokens, and so is it here.
    """
    assert isinstance(model.checkpoint.noise, FlowSchedule)
    return FlowLevels(model.checkpoint.noise, LATENT_CHANNELS)


def make_predict(model: Resident, network: nn.Module) -> Predict:
    """Return the network call. Float32 latents enter and leave it; inside it computes in its own dtype.

    The network counts time from noise to the picture, and tells the velocity in that direction. Sides of an odd number
    of latents get one more while it looks at them.
    """
    dtype = model.dtype(model.denoiser)

    def predict(latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        height, width = latents.shape[-2:]
        output = network(
            hidden_states=fill_up(latents).to(dtype),
            timestep=(1 - timestep / TRAIN_STEPS).expand(latents.shape[0]),
            encoder_hidden_states=condition.states,
            encoder_attention_mask=condition.mask,
            return_dict=False,
        )[0]
        return -output.float()[..., :height, :width]

    return predict


@torch.inference_mode()
def encode(model: Resident, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
    """Return the condition of `text`, float32, on the device: the states of Gemma's last layer but one.

    A prompt is read behind the words that the model was trained with, a negative prompt alone. Emphasis acts on the
    states; clip skip and `BREAK` do not apply.
    """
    row = read_row(
        model.piece_tokenizers["text_encoder"], text, encoding.emphasis, before="" if negative else SYSTEM,
        most=LONGEST, padded=LONGEST,
    )  # fmt: skip
    return Condition(read_states(model, "text_encoder", row, encoding.emphasis, LAYER), mask=model.place(row.mask))
