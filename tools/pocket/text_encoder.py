"""The caption encoder: a small CLIP text tower, taught from exact labels before the denoiser ever sees it.

A contrastive start learns colours and forgets shapes; a classifier on the end-of-text state, one head for each
thing a caption can say, is fast and keeps everything.
"""

import logging
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, PreTrainedModel

from tools.pocket import scenes
from tools.pocket.dataset import Dataset
from tools.pocket.training import Optimisers, Progress

WIDTH = 128
SHORT = 32  # tokens kept while training; no caption is longer
Encoder = TypeVar("Encoder", bound=PreTrainedModel)
log = logging.getLogger(__name__)


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Width 128, three layers, two heads (width / 64, as in real CLIP)."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=3,
        num_attention_heads=WIDTH // 64, max_position_embeddings=77, hidden_act="quick_gelu", projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return CLIPTextModel(config)


@torch.no_grad()
def extend_positions(encoder: CLIPTextModel, known: int) -> None:
    """Let all later positions begin as the last trained one, rather than as noise."""
    table = encoder.get_parameter("embeddings.position_embedding.weight")
    if known < len(table):
        table[known:] = table[known - 1]


@dataclass(frozen=True)
class Captions:
    """Captions as one encoder reads them, and what they say."""

    tokens: Tensor  # [n, length]
    said: Tensor  # [n, labels]
    end: int  # the token behind a caption


def captions(data: Dataset) -> Captions:
    """All of a data set, as CLIP reads them, cut to SHORT tokens."""
    tokens = torch.from_numpy(data.tokens.reshape(-1, 77)[:, :SHORT].astype(np.int64))
    return Captions(tokens, said(data), data.tokenizer.eos_token_id)


def said(data: Dataset) -> Tensor:
    """What the captions say, [captions of all pictures, labels]."""
    return torch.from_numpy(data.said.reshape(-1, len(scenes.LABELS)).astype(np.int64))


class LabelHeads(nn.Module):
    """Linear readers of one state: what does the caption say?"""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sizes = [len(names) + 1 for names in scenes.LABELS.values()]
        self.linear = nn.Linear(width, sum(self.sizes))

    def forward(self, state: Tensor) -> tuple[Tensor, ...]:
        """[n, width] to one tensor of scores for each label."""
        return self.linear(state).split(self.sizes, 1)


def train(
    encoder: Encoder, lines: Captions, test: Captions, minutes: float, batch: int = 128, learning_rate: float = 1.5e-3
) -> Encoder:
    """Supervised start; a few minutes, so it is simply done again if interrupted."""
    heads = LabelHeads(encoder.config.hidden_size)
    named = [
        (f"{part}.{name}", p, 1.0)
        for part, m in (("text", encoder), ("heads", heads))
        for name, p in m.named_parameters()
    ]
    optimisers = Optimisers(named, ("heads", "shared", "relative_attention_bias"))
    last = lines.tokens.shape[1] - 1
    progress = Progress(minutes, learning_rate, warm_up=8)
    step = 0
    while progress.share < 1:
        chosen = torch.randint(0, len(lines.tokens), (batch,))
        ids, labels = lines.tokens[chosen], lines.said[chosen]
        with torch.autocast("cpu", torch.bfloat16):
            states = encoder(ids).last_hidden_state.float()
        first = (ids == lines.end).int().argmax(1)
        later = (first + torch.randint(1, 6, first.shape)).clamp(max=last)
        rows = torch.arange(batch)
        loss = torch.zeros(())
        for position in (first, later):
            scores = heads(states[rows, position])
            loss = loss + sum(F.cross_entropy(score, labels[:, k]) for k, score in enumerate(scores))
        loss.backward()
        optimisers.step(progress.learning_rate)
        step += 1
        if step % 200 == 0:
            log.info("text %.1f min, step %d, loss %.3f", progress.spent / 60, step, loss.item())
    log.info("text accuracy %s", accuracy(encoder, heads, test))
    return encoder.eval()


@torch.no_grad()
def accuracy(encoder: PreTrainedModel, heads: LabelHeads, test: Captions, most: int = 1000) -> dict[str, float]:
    """Share of unseen captions whose label is read rightly, label by label."""
    ids, truth = test.tokens[:most], test.said[:most]
    states = encoder(ids).last_hidden_state
    first = (ids == test.end).int().argmax(1)
    scores = heads(states[torch.arange(len(ids)), first])
    return {
        name: round((score.argmax(1) == truth[:, k]).float().mean().item(), 3)
        for k, (name, score) in enumerate(zip(scenes.LABELS, scores, strict=True))
    }
