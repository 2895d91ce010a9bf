"""Stable Diffusion 1: how its text encoder, network and latents are used."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from webui.engine.condition import Condition, Encoding
from webui.engine.denoise import EdmLevels, NoiseLevels, Predict
from webui.engine.families.clip import Rows, encode_text
from webui.engine.families.distilled import told_guidance
from webui.engine.families.unets import ask_unet
from webui.errors import BadRequest
from webui.weights.checkpoint import EdmSchedule, NoiseSchedule
from webui.weights.memory import Resident

LATENT_CHANNELS = 4
SHRINK = 8  # pixels per latent, each way

# Latent channel → red, green, blue in -1 … 1: the least-squares fit in use for previews everywhere since 2022.
LATENT_TO_RGB: Sequence[tuple[float, float, float]] = (
    (0.298, 0.207, 0.208),
    (0.187, 0.286, 0.173),
    (-0.158, 0.189, 0.264),
    (-0.184, -0.271, -0.473),
)


def noise_levels(model: Resident, size: tuple[int, int] | None = None) -> NoiseLevels:
    """Return the sigmas the model was trained on: the same for pictures of every size."""
    noise = model.checkpoint.noise
    if isinstance(noise, EdmSchedule):
        return EdmLevels(noise)
    assert isinstance(noise, NoiseSchedule)
    return NoiseLevels(noise)


def latent_shape(width: int, height: int) -> tuple[int, int, int]:
    """Return [C,h,w] of the latents of one image of `width` × `height` pixels."""
    return LATENT_CHANNELS, height // SHRINK, width // SHRINK


def make_predict(model: Resident, network: nn.Module) -> Predict:
    """Return the network call. Float32 latents enter and leave it; inside it computes in its own dtype."""
    dtype = model.dtype("unet")

    def predict(latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        return ask_unet(network, dtype, latents, timestep, condition)

    return predict


@torch.inference_mode()
def encode(model: Resident, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
    """Return the condition of `text`, float32, on the device; a negative prompt is a prompt like any other."""

    def encode_rows(rows: Rows) -> Tensor:
        return encode_tokens(model, rows, encoding.clip_skip)

    states = encode_text(model.tokenizers["text_encoder"], text, encoding, encode_rows)
    return Condition(states, guidance=told_guidance(model, encoding))


@torch.inference_mode()
def encode_tokens(model: Resident, tokens: Rows, clip_skip: int) -> Tensor:
    """Return the text encoder's view [n,77,D] (float32, on the device) of n rows of 77 tokens.

    `clip_skip` counts layers from the end: 1 is the last. Earlier layers pass the final norm too, as CLIP's last does.
    """
    layers = model.checkpoint.configs["text_encoder"].get("num_hidden_layers", 12)
    if clip_skip > layers:
        raise BadRequest(
            f"Clip skip {clip_skip} is more than the {layers} layers of this model's text encoder.",
            hint=f"Use 1 to {layers}.",
            field="clip_skip",
        )
    with model.on_device("text_encoder") as encoder:
        rows = model.place(torch.tensor(tokens))
        if clip_skip == 1:
            return encoder(rows).last_hidden_state.float()
        states = encoder(rows, output_hidden_states=True).hidden_states[-clip_skip]
        return encoder.final_layer_norm(states).float()
