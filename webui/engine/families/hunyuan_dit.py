"""HunyuanDiT: a transformer that attends to what a Chinese BERT and a multilingual T5 read, and is told sizes.

(Li et al. 2024, arXiv:2405.08748.)
"""

from __future__ import annotations

import torch
from diffusers.models.embeddings import get_2d_rotary_pos_embed
from torch import Tensor, nn
from torch.nn import functional

from webui.engine.condition import Condition, Encoding
from webui.engine.denoise import Predict
from webui.engine.families.patches import PATCH, fill_up
from webui.engine.families.pieces import read_row, read_states
from webui.engine.families.sdxl import LATENT_TO_RGB, SHRINK, latent_shape, noise_levels
from webui.weights.memory import Resident

__all__ = ["LATENT_TO_RGB", "SHRINK", "encode", "latent_shape", "make_predict", "noise_levels"]

LENGTHS = 77, 256  # tokens of BERT and of T5, unless the files say so
FIRST_SIDE = 1024  # pixels a side that a picture is said to have had before training
BASE = 512 // SHRINK // PATCH  # tokens a side of the pictures it was first trained on, whose places the others share

Rotation = tuple[Tensor, Tensor]


def make_predict(model: Resident, network: nn.Module) -> Predict:
    """Return the network call. Float32 latents enter and leave it; inside it computes in its own dtype.

    The variance that the network tells besides is left out. Sides of an odd number of latents get one more while it
    looks at them.
    """
    dtype = model.dtype(model.denoiser)
    config = model.checkpoint.configs["transformer"]
    head = config.get("attention_head_dim", 88)
    bert, t5 = config.get("cross_attention_dim", 1024), config.get("cross_attention_dim_t5", 2048)
    length, _ = _lengths(model)
    known: dict[tuple[int, int], tuple[Rotation, Tensor]] = {}  # one transfer for all steps

    def predict(latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        batch, channels, height, width = latents.shape
        whole = fill_up(latents)
        rows, columns = whole.shape[-2] // PATCH, whole.shape[-1] // PATCH
        if (rows, columns) not in known:
            cosine, sine = _rotate(rows, columns, head)
            known[rows, columns] = (model.place(cosine), model.place(sine)), model.place(_tell_size(rows, columns))
        rotation, size = known[rows, columns]
        assert condition.mask is not None
        output = network(
            whole.to(dtype),
            timestep.expand(batch).to(dtype),
            encoder_hidden_states=condition.states[:, :length, :bert].contiguous(),
            text_embedding_mask=condition.mask[:, :length],
            encoder_hidden_states_t5=condition.states[:, length:, :t5].contiguous(),
            text_embedding_mask_t5=condition.mask[:, length:],
            image_meta_size=size.to(dtype).repeat(batch, 1),
            style=torch.zeros(batch, dtype=torch.long, device=latents.device),
            image_rotary_emb=rotation,
            return_dict=False,
        )[0]
        return output.float()[:, :channels, :height, :width]

    return predict


def _rotate(rows: int, columns: int, head: int) -> Rotation:
    """Return how each token's place turns queries and keys of `head` numbers: cosines and sines [rows·columns,head]."""
    cosine, sine = get_2d_rotary_pos_embed(head, _fit_in(rows, columns), (rows, columns), output_type="pt")
    return cosine, sine


def _fit_in(rows: int, columns: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return where a grid of tokens, made smaller, lies in the middle of the first one: its first place, its last."""
    share = BASE / max(rows, columns)
    sides = [round(share * side) for side in (rows, columns)]
    top, left = (round((BASE - side) / 2) for side in sides)
    return (top, left), (top + sides[0], left + sides[1])


def _tell_size(rows: int, columns: int) -> Tensor:
    """Return what the network is told [1,6] about a picture of `rows` × `columns` tokens: that it was square before
    training, is to be as large, and is not cropped."""
    pixels = SHRINK * PATCH
    return torch.tensor([[FIRST_SIDE, FIRST_SIDE, rows * pixels, columns * pixels, 0, 0]], dtype=torch.float32)


def _lengths(model: Resident) -> tuple[int, int]:
    """Return how many tokens of BERT and of T5 the network sees."""
    config = model.checkpoint.configs["transformer"]
    return config.get("text_len", LENGTHS[0]), config.get("text_len_t5", LENGTHS[1])


@torch.inference_mode()
def encode(model: Resident, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
    """Return the condition of `text`, float32, on the device: BERT's view of it and behind it T5's, which has more
    numbers for a token; zeros make up for that. A negative prompt is a prompt like any other.

    Emphasis acts on both; clip skip and `BREAK` do not apply.
    """
    views, masks = [], []
    for component, most in zip(("text_encoder", "text_encoder_2"), _lengths(model), strict=True):
        row = read_row(model.piece_tokenizers[component], text, encoding.emphasis, most=most, padded=most)
        views.append(read_states(model, component, row, encoding.emphasis))
        masks.append(row.mask)
    width = max(view.shape[1] for view in views)
    states = torch.cat([functional.pad(view, (0, width - view.shape[1])) for view in views])
    return Condition(states, mask=model.place(torch.cat(masks)))
