"""Qwen-Image: a transformer of flow matching told a text by Qwen2.5-VL, in the latents of a VAE that knows frames.

(Alibaba's Qwen team 2025, arXiv:2508.02324.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from webui.engine.condition import Condition, Encoding
from webui.engine.denoise import Predict
from webui.engine.families.flux import SHRINK, TRAIN_STEPS, latent_shape, noise_levels, pack, unpack
from webui.engine.families.patches import PATCH, fill_up
from webui.engine.families.pieces import read_row, weigh_states
from webui.weights.memory import Resident

__all__ = ["LATENT_TO_RGB", "SHRINK", "encode", "keep_norms", "latent_shape", "make_predict", "noise_levels"]

LONGEST = 512  # tokens of the text and what is said behind it
BEFORE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n"
)
BEHIND = "<|im_end|>\n<|im_start|>assistant\n"
DROPPED = 34  # tokens of what is said before the text: the network does not see them

# Latent channel → red, green, blue in -1 … 1: what other programs found by least squares.
LATENT_TO_RGB: Sequence[tuple[float, float, float]] = (
    (-0.1299, -0.1692, 0.2932),
    (0.0671, 0.0406, 0.0442),
    (0.3568, 0.2548, 0.1747),
    (0.0372, 0.2344, 0.1420),
    (0.0313, 0.0189, -0.0328),
    (0.0296, -0.0956, -0.0665),
    (-0.3477, -0.4059, -0.2925),
    (0.0166, 0.1902, 0.1975),
    (-0.0412, 0.0267, -0.1364),
    (-0.1293, 0.0740, 0.1636),
    (0.0680, 0.3019, 0.1128),
    (0.0032, 0.0581, 0.0639),
    (-0.1251, 0.0927, 0.1699),
    (0.0060, -0.0633, 0.0005),
    (0.3477, 0.2275, 0.2950),
    (0.1984, 0.0913, 0.1861),
)


def make_predict(model: Resident, network: nn.Module) -> Predict:
    """Return the network call. Float32 latents enter and leave it; inside it computes in its own dtype.

    Sides of an odd number of latents get one more while the network looks at them.
    """
    dtype = model.dtype(model.denoiser)

    def predict(latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        height, width = latents.shape[-2:]
        even = fill_up(latents)
        rows, columns = even.shape[-2] // PATCH, even.shape[-1] // PATCH
        output = network(
            hidden_states=pack(even).to(dtype),
            timestep=(timestep / TRAIN_STEPS).expand(latents.shape[0]).to(dtype),
            encoder_hidden_states=condition.states,
            encoder_hidden_states_mask=condition.mask,
            img_shapes=[[(1, rows, columns)]] * latents.shape[0],
            return_dict=False,
        )[0]
        return unpack(output.float(), rows, columns)[..., :height, :width]

    return predict


def keep_norms(guided: Tensor, unguided: Tensor) -> Tensor:
    """Return `guided` [B,C,h,w] with the norm that each token of `unguided` has, as the model's makers have it."""
    height, width = guided.shape[-2:]
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    wide, narrow = (pack(fill_up(each)).norm(dim=-1, keepdim=True) for each in (guided, unguided))
    ratio = (narrow / wide).expand(-1, -1, PATCH**2)
    return guided * unpack(ratio, rows, columns)[..., :height, :width]


@torch.inference_mode()
def encode(model: Resident, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
    """Return the condition of `text`, float32, on the device: the states of Qwen2.5-VL behind what is said before it.

    What is behind 512 tokens is not seen. Clip skip and `BREAK` do not apply.
    """
    tokenizer, most = model.piece_tokenizers["text_encoder"], DROPPED + LONGEST
    row = read_row(tokenizer, text, encoding.emphasis, before=BEFORE, behind=BEHIND, most=most)
    with model.on_device("text_encoder") as encoder:
        states = encoder(model.place(torch.tensor([row.tokens])), use_cache=False).last_hidden_state[0].float()
    states = weigh_states(states[DROPPED:], row.weights[DROPPED:], encoding.emphasis)
    return Condition(states, mask=model.place(row.mask[DROPPED:]))
