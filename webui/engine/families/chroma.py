"""Chroma: Flux's transformer without guidance and without CLIP, told a text by T5 alone.

(Lodestone Rock 2025, huggingface.co/lodestones/Chroma1-HD.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from webui.engine.condition import Condition, Encoding
from webui.engine.denoise import Predict
from webui.engine.families.flux import (
    LATENT_TO_RGB,
    SHRINK,
    TRAIN_STEPS,
    latent_shape,
    noise_levels,
    pack,
    places,
    unpack,
)
from webui.engine.families.patches import PATCH, fill_up
from webui.engine.families.pieces import read_row, weigh_states
from webui.weights.memory import Resident

__all__ = ["LATENT_TO_RGB", "SHRINK", "encode", "latent_shape", "make_predict", "noise_levels"]

LONGEST = 512  # tokens of T5


def make_predict(model: Resident, network: nn.Module) -> Predict:
    """Return the network call. Float32 latents enter and leave it; inside it computes in its own dtype.

    Sides of an odd number of latents get one more while the network looks at them.
    """
    dtype = model.dtype(model.denoiser)
    known: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}  # one transfer for all steps

    def predict(latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        height, width = latents.shape[-2:]
        even = fill_up(latents)
        rows, columns = even.shape[-2] // PATCH, even.shape[-1] // PATCH
        if (rows, columns) not in known:
            known[rows, columns] = model.place(places(rows, columns)), model.place(torch.zeros(condition.length, 3))
        picture, text = known[rows, columns]
        output = network(
            hidden_states=pack(even).to(dtype),
            timestep=(timestep / TRAIN_STEPS).expand(latents.shape[0]).to(dtype),
            encoder_hidden_states=condition.states,
            img_ids=picture,
            txt_ids=text,
            attention_mask=_see(condition, rows * columns, dtype),
            return_dict=False,
        )[0]
        return unpack(output.float(), rows, columns)[..., :height, :width]

    return predict


def _see(condition: Condition, tokens: int, dtype: torch.dtype) -> Tensor:
    """Return how much is seen of a text and of a picture's `tokens`, [B,T+tokens].

    These are numbers and not truths: diffusers adds them to the attention, so that padding is seen less, not hidden.
    """
    assert condition.mask is not None
    return functional.pad(condition.mask.to(dtype), (0, tokens), value=1.0)


@torch.inference_mode()
def encode(model: Resident, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
    """Return the condition of `text`, float32, on the device: T5's states, of which the first padding is seen too.

    What is behind 511 tokens is not seen. Clip skip and `BREAK` do not apply.
    """
    row = read_row(model.piece_tokenizers["text_encoder"], text, encoding.emphasis, most=LONGEST, padded=LONGEST)
    tokens, own = model.place(torch.tensor([row.tokens])), model.place(row.mask.long().unsqueeze(0))
    with model.on_device("text_encoder") as encoder:
        states = encoder(tokens, attention_mask=own).last_hidden_state[0].float()
    seen = model.place(torch.arange(LONGEST) <= row.own)
    return Condition(weigh_states(states, row.weights, encoding.emphasis), mask=seen)
