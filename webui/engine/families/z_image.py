"""Z-Image: a transformer of flow matching that sees a text's tokens and a picture's in one row; Qwen3 reads the text.

(Alibaba's Tongyi Lab 2025, github.com/Tongyi-MAI/Z-Image.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from webui.engine.condition import Condition, Encoding
from webui.engine.denoise import Predict
from webui.engine.families.flux import LATENT_TO_RGB, SHRINK, TRAIN_STEPS, latent_shape, noise_levels
from webui.engine.families.patches import fill_up
from webui.engine.families.pieces import read_row, weigh_states
from webui.weights.memory import Resident

__all__ = ["LATENT_TO_RGB", "SHRINK", "encode", "latent_shape", "make_predict", "noise_levels"]

LONGEST = 512  # tokens of the text and what is said around it
BEFORE, BEHIND = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"


def make_predict(model: Resident, network: nn.Module) -> Predict:
    """Return the network call. Float32 latents enter and leave it; inside it computes in its own dtype.

    The network counts time from noise to picture, and tells the velocity in that direction. Sides of an odd number of
    latents get one more while it looks at them.
    """
    dtype = model.dtype(model.denoiser)
    seen: list[tuple[Condition, list[Tensor]]] = []  # the latest: cutting texts out of their rows waits for the device

    def predict(latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        if not seen or seen[0][0] is not condition:
            assert condition.mask is not None
            seen[:] = [(condition, [row[mask] for row, mask in zip(condition.states, condition.mask, strict=True)])]
        height, width = latents.shape[-2:]
        even = fill_up(latents)
        output = network(
            list(even.to(dtype).unsqueeze(2)),
            (1 - timestep / TRAIN_STEPS).expand(latents.shape[0]),
            seen[0][1],
            return_dict=False,
        )[0]
        return -torch.stack(output)[:, :, 0, :height, :width].float()

    return predict


@torch.inference_mode()
def encode(model: Resident, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
    """Return the condition of `text`, float32, on the device: the states before Qwen3's last layer.

    What is behind 512 tokens is not seen. Clip skip and `BREAK` do not apply.
    """
    tokenizer = model.piece_tokenizers["text_encoder"]
    row = read_row(tokenizer, text, encoding.emphasis, before=BEFORE, behind=BEHIND, most=LONGEST)
    with model.on_device("text_encoder") as encoder:
        seen = encoder(model.place(torch.tensor([row.tokens])), output_hidden_states=True, use_cache=False)
    states = weigh_states(seen.hidden_states[-2][0].float(), row.weights, encoding.emphasis)
    return Condition(states, mask=model.place(row.mask))
