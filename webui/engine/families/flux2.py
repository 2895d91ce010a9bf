"""Flux.2: a transformer of flow matching told a text by three layers of a language model, in latents of 32 channels.

Qwen3 reads for klein, Mistral Small for dev, which was distilled to be told its guidance besides.

(Black Forest Labs 2025, github.com/black-forest-labs/flux2.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from webui.engine.condition import Condition, Encoding
from webui.engine.denoise import Predict
from webui.engine.families.flux import SHRINK, TRAIN_STEPS, noise_levels, pack, unpack
from webui.engine.families.patches import PATCH, fill_up
from webui.engine.families.pieces import read_row, weigh_states
from webui.weights.memory import Resident

__all__ = ["LATENT_TO_RGB", "SHRINK", "encode", "latent_shape", "make_predict", "noise_levels"]

LATENT_CHANNELS = 32
LONGEST = 512  # tokens of the text and what is said around it


@dataclass(frozen=True)
class Reading:
    """What is said before and behind a text, and the layers of the language model whose states the network is told;
    `filled_before`: whether rows are filled up before the text."""

    before: str
    behind: str
    layers: tuple[int, int, int]
    filled_before: bool = False


KLEIN = Reading("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", (9, 18, 27))
DEV = Reading(
    "<s>[SYSTEM_PROMPT]You are an AI that reasons about image descriptions. You give structured responses focusing on "
    "object relationships, object\nattribution and actions without speculation.[/SYSTEM_PROMPT][INST]",
    "[/INST]",
    (10, 20, 30),
    filled_before=True,
)

# Latent channel → red, green, blue in -1 … 1: what other programs found by least squares.
LATENT_TO_RGB: Sequence[tuple[float, float, float]] = (
    (0.0058, 0.0113, 0.0073),
    (0.0495, 0.0443, 0.0836),
    (-0.0099, 0.0096, 0.0644),
    (0.2144, 0.3009, 0.3652),
    (0.0166, -0.0039, -0.0054),
    (0.0157, 0.0103, -0.0160),
    (-0.0398, 0.0902, -0.0235),
    (-0.0052, 0.0095, 0.0109),
    (-0.3527, -0.2712, -0.1666),
    (-0.0301, -0.0356, -0.0180),
    (-0.0107, 0.0078, 0.0013),
    (0.0746, 0.0090, -0.0941),
    (0.0156, 0.0169, 0.0070),
    (-0.0034, -0.0040, -0.0114),
    (0.0032, 0.0181, 0.0080),
    (-0.0939, -0.0008, 0.0186),
    (0.0018, 0.0043, 0.0104),
    (0.0284, 0.0056, -0.0127),
    (-0.0024, -0.0022, -0.0030),
    (0.1207, -0.0026, 0.0065),
    (0.0128, 0.0101, 0.0142),
    (0.0137, -0.0072, -0.0007),
    (0.0095, 0.0092, -0.0059),
    (0.0000, -0.0077, -0.0049),
    (-0.0465, -0.0204, -0.0312),
    (0.0095, 0.0012, -0.0066),
    (0.0290, -0.0034, 0.0025),
    (0.0220, 0.0169, -0.0048),
    (-0.0332, -0.0457, -0.0468),
    (-0.0085, 0.0389, 0.0609),
    (-0.0076, 0.0003, -0.0043),
    (-0.0111, -0.0460, -0.0614),
)


def latent_shape(width: int, height: int) -> tuple[int, int, int]:
    """Return [C,h,w] of the latents of one image of `width` × `height` pixels."""
    return LATENT_CHANNELS, height // SHRINK, width // SHRINK


def make_predict(model: Resident, network: nn.Module) -> Predict:
    """Return the network call. Float32 latents enter and leave it; inside it computes in its own dtype.

    Sides of an odd number of latents get one more while the network looks at them.
    """
    dtype = model.dtype(model.denoiser)
    known: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}  # one transfer for all steps

    def predict(latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        height, width = latents.shape[-2:]
        even = fill_up(latents)
        rows, columns = even.shape[-2] // PATCH, even.shape[-1] // PATCH
        key = rows, columns, condition.length
        if key not in known:
            known[key] = model.place(_places(1, rows, columns, 1)), model.place(_places(1, 1, 1, condition.length))
        picture, text = known[key]
        output = network(
            hidden_states=pack(even).to(dtype),
            timestep=(timestep / TRAIN_STEPS).expand(latents.shape[0]).to(dtype),
            guidance=condition.guidance,
            encoder_hidden_states=condition.states,
            img_ids=picture,
            txt_ids=text,
            return_dict=False,
        )[0]
        return unpack(output.float(), rows, columns)[..., :height, :width]

    return predict


def _places(*lengths: int) -> Tensor:
    """Return where each token stands: in which picture, row and column, and at which place of the text [N,4]."""
    return torch.cartesian_prod(*(torch.arange(length) for length in lengths))


@torch.inference_mode()
def encode(model: Resident, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
    """Return the condition of `text`, float32, on the device: three layers side by side, padding included, and the
    guidance that a distilled network is told.

    What is behind 512 tokens is not seen. Clip skip and `BREAK` do not apply.
    """
    reading = KLEIN if model.checkpoint.parts["text_encoder"].network.startswith("Qwen3") else DEV
    tokens, weights, own = _read(model, text.replace("[IMG]", ""), encoding, reading)
    with model.on_device("text_encoder") as encoder:
        seen = encoder(
            model.place(torch.tensor([tokens])),
            attention_mask=model.place(torch.tensor([own])),
            output_hidden_states=True,
            use_cache=False,
        ).hidden_states
    states = torch.cat([seen[layer][0] for layer in reading.layers], -1).float()
    guidance = None
    if encoding.distilled_guidance is not None:
        guidance = model.place(torch.tensor(encoding.distilled_guidance, dtype=torch.float32))
    return Condition(weigh_states(states, weights, encoding.emphasis), guidance=guidance)


def _read(
    model: Resident, text: str, encoding: Encoding, reading: Reading
) -> tuple[Sequence[int], Sequence[float], Sequence[int]]:
    """Return the tokens of a text, how heavy each is, and 1 for each that is no padding."""
    tokenizer = model.piece_tokenizers["text_encoder"]
    before, behind = reading.before, reading.behind
    row = read_row(tokenizer, text, encoding.emphasis, before=before, behind=behind, framed=False, most=LONGEST)
    missing = LONGEST - len(row.tokens)
    filling, light, nothing = [tokenizer.padding] * missing, [1.0] * missing, [0] * missing
    if reading.filled_before:
        return [*filling, *row.tokens], [*light, *row.weights], [*nothing, *[1] * row.own]
    return [*row.tokens, *filling], [*row.weights, *light], [*[1] * row.own, *nothing]
