"""Train the pocket IP-Adapter: the pocket model is told by a picture what to draw (Ye et al. 2023, arXiv:2308.06721).

    python -m tools.pocket.vision
    python -m tools.pocket.image_prompt

Its inputs are the vectors of the pocket CLIP's eyes; four more words are made of each, which attention layers of the
denoiser look at beside the caption's. Captions are mostly left out while it learns, so that it has to see.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from tools.pocket import adapters, scenes, tokenizer, vision
from tools.pocket.adapters import Scenes, draw, noise_error
from tools.pocket.evaluate import Model
from tools.pocket.scorer import JUDGED, Scorer
from tools.pocket.unet import Noising, PlainAttention

TOKENS = 4
BATCH = 32
EYES = Path("models/clip_vision/pocket-clip-vision")
CARD = Path(__file__).with_name("IMAGE_PROMPT_CARD.md")
TITLE = "Pocket IP-Adapter"
TEST = 20  # pictures
log = logging.getLogger(__name__)


class ImageWords(nn.Module):
    """Makes TOKENS words of one vector [n, 128]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(vision.WIDTH, TOKENS * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.norm(self.proj(vectors).unflatten(-1, (TOKENS, -1)))


class ImageAttention(nn.Module):
    """Attention to the caption and, apart from it, to the last TOKENS words, which are those of a picture."""

    def __init__(self, layer: Attention) -> None:
        super().__init__()
        self.to_k_ip = nn.Linear(layer.to_k.in_features, layer.to_k.out_features, bias=False)
        self.to_v_ip = nn.Linear(layer.to_v.in_features, layer.to_v.out_features, bias=False)
        self.to_k_ip.weight.data.copy_(layer.to_k.weight)
        self.to_v_ip.weight.data.copy_(layer.to_v.weight)

    def __call__(
        self, attention: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: object
    ) -> Tensor:
        """One attention layer, [n, length, width] in and out."""

        def split(states: Tensor) -> Tensor:
            return states.unflatten(-1, (attention.heads, -1)).transpose(1, 2)

        words, seen = encoder_hidden_states[:, :-TOKENS], encoder_hidden_states[:, -TOKENS:]
        query = split(attention.to_q(hidden_states)) * attention.scale
        found = torch.zeros_like(query)
        for key, value in (
            (attention.to_k(words), attention.to_v(words)), (self.to_k_ip(seen), self.to_v_ip(seen)),
        ):  # fmt: skip
            weights = (query @ split(key).transpose(-1, -2)).softmax(-1)
            found = found + weights.to(value.dtype) @ split(value)
        return attention.to_out[0](found.transpose(1, 2).flatten(2))


class ImagePrompt(nn.Module):
    """The adapter in force on a model's denoiser."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.image_proj = ImageWords(model.unet.config.cross_attention_dim)
        layers = {f"{name}.processor": layer for name, layer in model.unet.named_modules() if name.endswith("attn2")}
        # The published files number all attention layers in this order, those that see no words included.
        order = list(model.unet.attn_processors)
        self.ip_adapter = nn.ModuleDict(
            {str(index): ImageAttention(layers[name]) for index, name in enumerate(order) if name in layers}
        )
        model.unet.set_attn_processor(
            {name: self.ip_adapter[str(i)] if name in layers else PlainAttention() for i, name in enumerate(order)}
        )

    def tensors(self) -> dict[str, Tensor]:
        """Under the names of the published files."""
        own = {**self.image_proj.state_dict(prefix="image_proj."), **self.ip_adapter.state_dict(prefix="ip_adapter.")}
        return own


# Training


def train(model: Model, known: Scenes, vectors: Tensor, minutes: float) -> tuple[ImagePrompt, int]:
    """An adapter that knows which pictures have such vectors, and the number of steps."""
    adapter, noising = ImagePrompt(model), Noising(torch.device("cpu"))
    empty = torch.from_numpy(tokenizer.encode(model.tokenizer, [""]).astype(np.int64))

    def error() -> Tensor:
        chosen = torch.randint(0, len(known.latents), (BATCH,))
        tokens = known.tokens[chosen, torch.randint(0, known.tokens.shape[1], chosen.shape)]
        tokens = torch.where(torch.rand(BATCH, 1) < 0.7, empty, tokens)
        seen = torch.where(torch.rand(BATCH, 1) < 0.1, torch.zeros(()), vectors[chosen])
        with torch.no_grad():
            states = model.text(tokens).last_hidden_state

        def predict(noisy: Tensor, times: Tensor) -> Tensor:
            return model.unet(noisy, times, torch.cat([states, adapter.image_proj(seen)], 1)).sample

        return noise_error(noising, known.latents[chosen], predict)

    steps = adapters.teach(adapter.named_parameters(), error, minutes, peak=2e-3, first_and_last=("image_proj",))
    adapters.round_to_half(adapter.parameters())
    return adapter.eval(), steps


# Measuring


def draw_like(model: Model, adapter: ImagePrompt, prompts: list[str], vectors: Tensor) -> np.ndarray:
    """Pictures after both prompts; the vector of no picture is zero."""

    def predict(noisy: Tensor, times: Tensor, states: Tensor, rows: slice) -> Tensor:
        seen = torch.cat([torch.zeros_like(vectors[rows]), vectors[rows]])
        return model.unet(noisy, times, torch.cat([states, adapter.image_proj(seen)], 1)).sample

    return draw(model, prompts, predict, seed=5)


def measure(model: Model, adapter: ImagePrompt, eyes: CLIPVisionModelWithProjection, sheet: Path) -> dict[str, str]:
    """What is taken over from unseen pictures, alone and where the prompt names another background."""
    rng = np.random.default_rng(9_300)
    asked = [scenes.random_scene(rng, pairs=0.0) for _ in range(TEST)]
    truth = np.stack([scenes.render(each, rng) for each in asked])
    vectors = vision.look(eyes, truth)
    codes = np.array([scenes.scene_codes(each) for each in asked])
    columns = {name: list(scenes.LABELS).index(name) for name in ("object", "colour", "background")}
    night = scenes.BACKGROUNDS.index("night") + 1
    scorer, scores, rows = Scorer.load(), {}, [list(truth[:16])]
    for name, prompt, given in (
        ("alone", "", vectors), ("without", "", torch.zeros_like(vectors)), ("night", "at night", vectors),
    ):  # fmt: skip
        drawn = draw_like(model, adapter, [prompt] * TEST, given)
        found = scorer.codes(drawn)
        for label, column in columns.items():
            share = (found[:, JUDGED.index(label)] == codes[:, column]).mean()
            scores[f"{label} {name}"] = f"{share:.0%}"
        scores[f"at night {name}"] = f"{(found[:, JUDGED.index('background')] == night).mean():.0%}"
        rows.append(list(drawn[:16]))
    adapters.save_sheet(rows, sheet)
    return scores


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("models/ControlNet"))
    parser.add_argument("--eyes", type=Path, default=EYES)
    parser.add_argument("--scenes", type=Path, default=Path("pocket-scenes"), help="where the drawn scenes are kept")
    parser.add_argument("--count", type=int, default=12_000, help="how many scenes")
    parser.add_argument("--minutes", type=float, default=10, help="processor time of the training")
    options = parser.parse_args()
    adapters.begin()
    model = adapters.load_base()
    known = adapters.build_scenes(options.scenes, options.count, model)
    eyes = CLIPVisionModelWithProjection.from_pretrained(options.eyes, dtype=torch.float32).eval()
    vectors = vision.look(eyes, known.pictures)
    adapter, steps = train(model, known, vectors, options.minutes)
    path = options.out / "pocket-ip-adapter-sd1.safetensors"
    metadata = {"modelspec.architecture": "stable-diffusion-v1/ip-adapter", "modelspec.title": TITLE}
    adapters.save(adapter.tensors(), path, metadata)
    scores = measure(model, adapter, eyes, options.scenes / "ip-adapter.png")
    log.info("%d steps: %s", steps, scores)
    facts = scores | {
        "steps": f"{steps:,}", "minutes": f"{options.minutes:g}", "count": f"{options.count:,}", "test": TEST,
        "parameters": f"{sum(each.numel() for each in adapter.parameters()):,}",
        "kilobytes": adapters.kilobytes(path),
    }  # fmt: skip
    entry = {"title": TITLE, "description": "Pocket SD1 draws after a picture: its thing, colours and background."}
    adapters.write_card(path, CARD, facts, entry)


if __name__ == "__main__":
    main()
