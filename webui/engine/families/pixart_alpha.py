"""PixArt-α: a transformer that attends to what T5 reads, and is told a picture's size. (Chen et al. 2023,
arXiv:2310.00426.)"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from webui.engine.condition import Condition, Encoding
from webui.engine.denoise import Predict
from webui.engine.families.patches import fill_up
from webui.engine.families.pieces import read_row, read_states
from webui.engine.families.sd1 import LATENT_TO_RGB, SHRINK, latent_shape, noise_levels
from webui.weights.memory import Resident

__all__ = ["LATENT_TO_RGB", "SHRINK", "encode", "latent_shape", "make_predict", "noise_levels"]

LONGEST = 120  # tokens of T5 that it was trained on
TOLD_SIZE = 128  # latents a side of the models that are told sizes, unless their files say so


def make_predict(model: Resident, network: nn.Module) -> Predict:
    """Return the network call. Float32 latents enter and leave it; inside it computes in its own dtype.

    The variance that the network tells besides is left out. Sides of an odd number of latents get one more while it
    looks at them.
    """
    dtype = model.dtype(model.denoiser)
    config = model.checkpoint.configs["transformer"]
    told = config.get("use_additional_conditions")
    is_told = config.get("sample_size") == TOLD_SIZE if told is None else told
    known: dict[tuple[int, ...], dict[str, Tensor | None]] = {}  # one transfer for all steps

    def predict(latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        batch, channels, height, width = latents.shape
        if (batch, height, width) not in known:
            known[batch, height, width] = _tell_size(model, width, height, batch) if is_told else _NOTHING
        output = network(
            fill_up(latents).to(dtype),
            timestep=timestep.expand(batch),
            encoder_hidden_states=condition.states,
            encoder_attention_mask=condition.mask,
            added_cond_kwargs=known[batch, height, width],
            return_dict=False,
        )[0]
        return output.float()[:, :channels, :height, :width]

    return predict


_NOTHING: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}


def _tell_size(model: Resident, width: int, height: int, batch: int) -> dict[str, Tensor | None]:
    """Return what the network is told about pictures of `width` × `height` latents."""
    size = torch.tensor([[height * SHRINK, width * SHRINK]], dtype=torch.float32).expand(batch, 2)
    ratio = torch.tensor([[height / width]], dtype=torch.float32).expand(batch, 1)
    return {"resolution": model.place(size), "aspect_ratio": model.place(ratio)}


@torch.inference_mode()
def encode(model: Resident, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
    """Return the condition of `text`, float32, on the device; a negative prompt is a prompt like any other.

    Texts were small letters in training. Emphasis acts on T5's states; clip skip and `BREAK` do not apply.
    """
    return read_small(model, text, encoding, LONGEST)


def read_small(model: Resident, text: str, encoding: Encoding, longest: int) -> Condition:
    """Return T5's view of the first `longest` tokens of a text in small letters, and which of them there are."""
    row = read_row(
        model.piece_tokenizers["text_encoder"],
        text.strip(),
        encoding.emphasis,
        lower=True,
        most=longest,
        padded=longest,
    )
    return Condition(read_states(model, "text_encoder", row, encoding.emphasis), mask=model.place(row.mask))
