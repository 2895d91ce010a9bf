"""Stable Diffusion 3 and 3.5: a transformer of flow matching, told a text by two CLIP encoders and, if it is there, T5.

(Esser et al. 2024, arXiv:2403.03206.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from webui.engine.condition import Condition, Encoding
from webui.engine.denoise import Predict
from webui.engine.families.clip import read_beginning
from webui.engine.families.flux import SHRINK, latent_shape, noise_levels
from webui.engine.families.patches import fill_up
from webui.engine.families.pieces import read_row, weigh_states
from webui.weights.memory import Resident

__all__ = ["LATENT_TO_RGB", "SHRINK", "encode", "latent_shape", "make_predict", "noise_levels"]

LONGEST = 256  # tokens of T5

# Latent channel → red, green, blue in -1 … 1: what other programs found by least squares.
LATENT_TO_RGB: Sequence[tuple[float, float, float]] = (
    (-0.0922, -0.0175, 0.0749),
    (0.0311, 0.0633, 0.0954),
    (0.1994, 0.0927, 0.0458),
    (0.0856, 0.0339, 0.0902),
    (0.0587, 0.0272, -0.0496),
    (-0.0006, 0.1104, 0.0309),
    (0.0978, 0.0306, 0.0427),
    (-0.0042, 0.1038, 0.1358),
    (-0.0194, 0.0020, 0.0669),
    (-0.0488, 0.0130, -0.0268),
    (0.0922, 0.0988, 0.0951),
    (-0.0278, 0.0524, -0.0542),
    (0.0332, 0.0456, 0.0895),
    (-0.0069, -0.0030, -0.0810),
    (-0.0596, -0.0465, -0.0293),
    (-0.1448, -0.1463, -0.1189),
)


def make_predict(model: Resident, network: nn.Module) -> Predict:
    """Return the network call. Float32 latents enter and leave it; inside it computes in its own dtype.

    Sides of an odd number of latents get one more while the network looks at them.
    """
    dtype = model.dtype(model.denoiser)

    def predict(latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        height, width = latents.shape[-2:]
        even = fill_up(latents)
        output = network(
            hidden_states=even.to(dtype),
            timestep=timestep.expand(latents.shape[0]),
            encoder_hidden_states=condition.states,
            pooled_projections=condition.pooled,
            return_dict=False,
        )[0]
        return output[..., :height, :width].float()

    return predict


@torch.inference_mode()
def encode(model: Resident, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
    """Return the condition of `text`, float32, on the device: the last but one layer of both CLIP encoders side by
    side, T5's states behind them (zeros where there is no T5), and both CLIPs' views of it as a whole.

    CLIP reads 75 tokens and T5 255; what is behind them is not seen. Clip skip and `BREAK` do not apply.
    """
    first, first_pooled = _encode_by_clip(model, "text_encoder", text, encoding)
    second, second_pooled = _encode_by_clip(model, "text_encoder_2", text, encoding)
    width = model.checkpoint.configs["transformer"].get("joint_attention_dim", 4096)
    clip = torch.cat([first, second], -1)
    clip = functional.pad(clip, (0, width - clip.shape[-1]))
    states = torch.cat([clip, _encode_by_t5(model, text, encoding, width)])
    return Condition(states, torch.cat([first_pooled, second_pooled]))


def _encode_by_clip(model: Resident, part: str, text: str, encoding: Encoding) -> tuple[Tensor, Tensor]:
    """Return the states [77,D] of a text's beginning and the view of it as a whole [P]."""
    row, weights = read_beginning(model.tokenizers[part], text, encoding.emphasis)
    with model.on_device(part) as encoder:
        seen = encoder(model.place(torch.tensor([row])), output_hidden_states=True)
    states = seen.hidden_states[-2][0].float()
    return weigh_states(states, weights, encoding.emphasis), seen.text_embeds[0].float()


def _encode_by_t5(model: Resident, text: str, encoding: Encoding, width: int) -> Tensor:
    if "text_encoder_3" not in model.checkpoint.parts:
        return model.place(torch.zeros(LONGEST, width))
    row = read_row(model.piece_tokenizers["text_encoder_3"], text, encoding.emphasis, most=LONGEST, padded=LONGEST)
    with model.on_device("text_encoder_3") as encoder:
        states = encoder(model.place(torch.tensor([row.tokens]))).last_hidden_state[0].float()
    return weigh_states(states, row.weights, encoding.emphasis)
