"""AuraFlow: a transformer of flow matching that reads texts beside the picture, with registers and learnt places.

(Fal 2024, blog.fal.ai/auraflow; T5 is a multilingual one, trained anew on "the Pile".)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from webui.engine.condition import Condition, Encoding
from webui.engine.denoise import Predict
from webui.engine.families.flux import noise_levels
from webui.engine.families.patches import PATCH, fill_up
from webui.engine.families.pieces import read_row, read_states
from webui.engine.families.sdxl import LATENT_TO_RGB, SHRINK, latent_shape
from webui.errors import BadRequest
from webui.weights.memory import Resident

__all__ = ["LATENT_TO_RGB", "SHRINK", "encode", "latent_shape", "make_predict", "noise_levels"]

LONGEST = 256  # tokens of T5 that it was trained on
TRAIN_STEPS = 1000
PLACES = 1024  # that are learnt, unless the files say so


def make_predict(model: Resident, network: nn.Module) -> Predict:
    """Return the network call. Float32 latents enter and leave it; inside it computes in its own dtype.

    Sides of an odd number of latents get one more while the network looks at them. It raises `BadRequest` for pictures
    larger than the places that were learnt.
    """
    dtype = model.dtype(model.denoiser)
    most = math.isqrt(model.checkpoint.configs["transformer"].get("pos_embed_max_size", PLACES))

    def predict(latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        height, width = latents.shape[-2:]
        whole = fill_up(latents)
        if max(whole.shape[-2:]) > most * PATCH:
            raise BadRequest(
                f"This AuraFlow draws pictures of at most {most * PATCH * SHRINK} pixels a side.",
                hint="Choose a smaller size, or upscale the picture with another model.",
                field="width",
            )
        output = network(
            whole.to(dtype),
            encoder_hidden_states=condition.states,
            timestep=(timestep / TRAIN_STEPS).expand(latents.shape[0]).to(dtype),
            return_dict=False,
        )[0]
        return output.float()[..., :height, :width]

    return predict


@torch.inference_mode()
def encode(model: Resident, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
    """Return the condition of `text`, float32, on the device: T5's view of it, zeros behind its end. A negative prompt
    is a prompt like any other.

    Emphasis acts on T5's states; clip skip and `BREAK` do not apply.
    """
    row = read_row(model.piece_tokenizers["text_encoder"], text, encoding.emphasis, most=LONGEST, padded=LONGEST)
    states = read_states(model, "text_encoder", row, encoding.emphasis)
    return Condition(states * model.place(row.mask).unsqueeze(1))
