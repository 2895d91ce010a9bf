"""Kolors: SDXL's network, told a text in Chinese or English by ChatGLM.

(Kuaishou 2024, github.com/Kwai-Kolors/Kolors.)
"""

from __future__ import annotations

import torch

from webui.engine.condition import Condition, Encoding
from webui.engine.families.pieces import Row, read_row, weigh_states
from webui.engine.families.sdxl import LATENT_TO_RGB, SHRINK, latent_shape, make_predict, noise_levels
from webui.weights.loading.tokenizers import PieceTokenizer
from webui.weights.memory import Resident

__all__ = ["LATENT_TO_RGB", "SHRINK", "encode", "latent_shape", "make_predict", "noise_levels"]

LENGTH = 256  # tokens of ChatGLM that the network sees
LAYER = -2  # of ChatGLM, whose states it was trained on
# What ChatGLM's tokenizer numbers behind its pieces: [MASK], [gMASK], [sMASK], sop, eop and so on. The second and the
# fourth stand before every text.
_MASK, _START = 1, 3


@torch.inference_mode()
def encode(model: Resident, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
    """Return the condition of `text`, float32, on the device: the states of ChatGLM's last layer but one, and the last
    one's view of the last token.

    The text stands at the end of the row, and the network sees the padding before it. Emphasis acts on the states; clip
    skip and `BREAK` do not apply.
    """
    row = _read_right(model.piece_tokenizers["text_encoder"], text, encoding)
    missing = LENGTH - row.own
    with model.on_device("text_encoder") as encoder:
        seen = encoder(
            model.place(torch.tensor([row.tokens])),
            attention_mask=model.place(torch.tensor([[0] * missing + [1] * row.own])),
            position_ids=model.place(torch.tensor([[0] * missing + list(range(row.own))])),
            output_hidden_states=True,
            return_dict=True,
        ).hidden_states
    states, pooled = seen[LAYER][:, 0].float(), seen[-1][-1, 0].float()
    if negative and not text and model.checkpoint.zero_negative:
        return Condition(torch.zeros_like(states), torch.zeros_like(pooled))
    return Condition(weigh_states(states, row.weights, encoding.emphasis), pooled)


def _read_right(tokenizer: PieceTokenizer, text: str, encoding: Encoding) -> Row:
    """Return the row of `LENGTH` tokens that ends with the text."""
    leading = [tokenizer.size + _MASK, tokenizer.size + _START]
    read = read_row(tokenizer, text, encoding.emphasis, framed=False, most=LENGTH - len(leading))
    missing = LENGTH - len(leading) - read.own
    tokens = [*[tokenizer.padding] * missing, *leading, *read.tokens]
    return Row(tokens, [*[1.0] * (missing + len(leading)), *read.weights], read.own + len(leading))
