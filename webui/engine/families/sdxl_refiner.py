"""SDXL's refiner: one text encoder, and how good-looking the picture shall be instead of the size it shall become.

(Podell et al. 2023, arXiv:2307.01952, section 2.5.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from webui.engine.condition import Condition, Encoding
from webui.engine.denoise import Predict
from webui.engine.families.sd1 import SHRINK, latent_shape, noise_levels
from webui.engine.families.sdxl import LATENT_TO_RGB, encode_by_second
from webui.engine.families.unets import ask_unet
from webui.weights.memory import Resident

__all__ = ["LATENT_TO_RGB", "SHRINK", "encode", "latent_shape", "make_predict", "noise_levels"]

SCORE, NEGATIVE_SCORE = 6.0, 2.5  # of LAION's aesthetic predictor, 1 to 10: what prompts and negative prompts ask for


def make_predict(model: Resident, network: nn.Module) -> Predict:
    """Return the network call. Float32 latents enter and leave it; inside it computes in its own dtype."""
    dtype = model.dtype("unet")
    known: dict[tuple[int, int], Tensor] = {}  # one transfer for all steps

    def predict(latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        assert condition.score is not None
        batch, _, height, width = latents.shape
        if (height, width) not in known:
            size = torch.tensor([height, width, 0, 0], dtype=torch.float32) * SHRINK
            known[height, width] = model.place(size)
        sizes = known[height, width].expand(batch, -1)
        told = {"text_embeds": condition.pooled, "time_ids": torch.cat([sizes, condition.score.unsqueeze(1)], 1)}
        return ask_unet(network, dtype, latents, timestep, condition, added_cond_kwargs=told)

    return predict


@torch.inference_mode()
def encode(model: Resident, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
    """Return the condition of `text`, float32, on the device: the last but one layer without a final norm, the first
    chunk as a whole, and the score that prompts ask for, or negative prompts.

    An empty negative prompt is nothing at all where the model says so. Clip skip does not apply.
    """
    states, pooled = encode_by_second(model, text, encoding)
    score = model.place(torch.tensor(NEGATIVE_SCORE if negative else SCORE))
    if negative and not text and model.checkpoint.zero_negative:
        return Condition(torch.zeros_like(states), torch.zeros_like(pooled), score=score)
    return Condition(states, pooled, score=score)
