"""Train a pocket LoRA: a drawing style that a pocket model was never shown, from a few pictures of it.

    python -m tools.pocket.lora neon
    python -m tools.pocket.lora frame
    python -m tools.pocket.lora neon --base models/Stable-diffusion/pocket-sdxl

Three of the fourteen things are never in the pictures: on them is measured whether the style is one.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from numpy.random import Generator
from safetensors import safe_open
from torch import Tensor, nn

from tools.pocket import adapters, scenes
from tools.pocket.adapters import noise_error
from tools.pocket.evaluate import Model, ModelXL
from tools.pocket.scorer import JUDGED, Scorer
from tools.pocket.styles import LIT, STYLES, Style, outline_judge, suitable_scene
from tools.pocket.unet import Noising

RANK = 8
LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
HELD_OUT = ("star", "house", "heart")
BATCH = 16
CARD = Path(__file__).with_name("LORA_CARD.md")
TITLES = {"neon": "Pocket Neon", "frame": "Pocket Frame"}
DESCRIPTIONS = {"neon": "Draws things as glowing neon tubes.", "frame": "Puts the picture into a golden frame."}
WORDS = {"sd1": ("sd_v1", "stable-diffusion-v1/lora"), "sdxl": ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora")}
"""What trainers call a family, and what the SAI model specification calls it."""
log = logging.getLogger(__name__)

# Pictures


def make_pictures(style: Style, count: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Pictures in a style with captions that name it."""
    rng = np.random.default_rng(seed)
    shown = tuple(name for name in scenes.OBJECTS if name not in HELD_OUT)
    drawn = [suitable_scene(rng, shown) for _ in range(count)]
    pictures = np.stack([style.render(each, rng) for each in drawn])
    return pictures, [_caption(style, each, rng) for each in drawn]


def _caption(style: Style, scene: scenes.Scene, rng: Generator) -> str:
    thing = scene.things[0]
    noun = f"{rng.choice(['a', 'a', 'the', ''])} {thing.colour} {thing.object}".strip()
    place = f", {scenes.background_phrase(scene.background, rng)}" if rng.random() < 0.6 else ""
    return str(rng.choice([f"{style.words}, {noun}{place}", f"{noun}{place}, {style.words}"]))


# Training


class Change(nn.Module):
    """What a LoRA adds to the output of one layer, at first nothing (Hu et al. 2021, arXiv:2106.09685)."""

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        if isinstance(layer, nn.Linear):
            self.lora_down: nn.Module = nn.Linear(layer.in_features, RANK, bias=False)
            self.lora_up: nn.Module = nn.Linear(RANK, layer.out_features, bias=False)
        else:  # of 1×1
            self.lora_down = nn.Conv2d(layer.in_channels, RANK, 1, bias=False)
            self.lora_up = nn.Conv2d(RANK, layer.out_channels, 1, bias=False)
        nn.init.zeros_(self.lora_up.weight)

    def forward(self, states: Tensor) -> Tensor:
        return self.lora_up(self.lora_down(states))


class Lora(nn.Module):
    """A change of every layer that is named in LAYERS, and whether it is in force."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.in_force = True
        self.changes = nn.ModuleDict()
        for name, layer in unet.named_modules():
            if name.endswith(LAYERS):
                change = Change(layer)
                self.changes[name.replace(".", "_")] = change
                layer.register_forward_hook(partial(self._add, change))

    def _add(self, change: Change, layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + change(given[0]) if self.in_force else output

    def tensors(self) -> dict[str, Tensor]:
        """The change under kohya's names: `lora_unet_<module>.lora_down.weight`, `….lora_up.weight`, `….alpha`."""
        tensors = {f"lora_unet_{name}": value for name, value in self.changes.state_dict().items()}
        alphas = {f"lora_unet_{name}.alpha": torch.tensor(float(RANK)) for name in self.changes}
        return tensors | alphas


def train(model: Model, pictures: np.ndarray, captions: Sequence[str], minutes: float) -> tuple[Lora, int]:
    """A LoRA that makes the model's denoiser draw like the pictures, and the number of steps."""
    lora = Lora(model.unet)
    latents = adapters.to_latents(model.vae, pictures)
    noising = Noising(torch.device("cpu"))

    def error() -> Tensor:
        chosen = torch.randint(0, len(latents), (BATCH,))
        words = [captions[index] if torch.rand(1) > 0.1 else "" for index in chosen.tolist()]
        with torch.no_grad():
            told = model.encode(words)
        return noise_error(noising, latents[chosen], lambda noisy, times: model.unet(noisy, times, **told).sample)

    steps = adapters.teach(lora.named_parameters(), error, minutes, peak=3e-3, plain=True, decay=0.98)
    adapters.round_to_half(lora.parameters())
    return lora, steps


# Files


def save(lora: Lora, path: Path, style: Style, family: str, base: str, count: int, steps: int) -> None:
    """Write it with the metadata that other programs read."""
    version, architecture = WORDS[family]
    adapters.save(lora.tensors(), path, {
        "ss_network_module": "networks.lora", "ss_network_dim": str(RANK), "ss_network_alpha": str(RANK),
        "ss_base_model_version": version, "ss_sd_model_name": base, "ss_resolution": "(128, 128)",
        "ss_output_name": path.stem, "ss_num_train_images": str(count), "ss_steps": str(steps),
        "ss_tag_frequency": f'{{"pictures": {{"{style.words}": {count}}}}}',
        "modelspec.architecture": architecture, "modelspec.title": TITLES[style.name],
        "modelspec.trigger_phrase": style.words,
    })  # fmt: skip


def load_lora(model: Model, path: Path) -> tuple[Lora, int]:
    """A finished one in force on the model's denoiser, and the number of steps that it took."""
    lora = Lora(model.unet)
    with safe_open(path, "pt") as file:
        weights = {name: file.get_tensor(f"lora_unet_{name}").float() for name in lora.changes.state_dict()}
        steps = int(file.metadata()["ss_steps"])
    lora.changes.load_state_dict(weights)
    return lora, steps


# Measuring


def measure(model: Model, lora: Lora, style: Style, sheet: Path, count: int = 40) -> dict[str, str]:
    """How often the style is seen, and the thing of the prompt: with and without, on things that were never shown."""
    rng = np.random.default_rng(7_001)
    scorer, outlines = Scorer.load(), outline_judge()
    scores: dict[str, str] = {}
    rows = []
    asked = {
        "unseen": [(str(rng.choice(HELD_OUT)), str(rng.choice(LIT))) for _ in range(count)],
        "seen": [(str(rng.choice(scenes.OBJECTS)), str(rng.choice(LIT))) for _ in range(count)],
    }
    for group, things in asked.items():
        prompts = [f"{style.words}, a {colour} {name}" for name, colour in things]
        names = [name for name, _ in things]
        for word in ("without", "with"):
            lora.in_force = word == "with"
            pictures = model.draw(prompts, seed=21)
            rows.append(list(pictures[:16]))
            codes = scorer.codes(pictures)[:, JUDGED.index("object")]
            told = ["" if code == 0 else scenes.OBJECTS[code - 1] for code in codes]
            if style.name == "neon" and word == "with":
                told = [outlines.tell(each) for each in pictures]
            scores[f"style {group} {word}"] = f"{np.mean([style.shows(each) for each in pictures]):.0%}"
            scores[f"object {group} {word}"] = f"{np.mean([a == b for a, b in zip(told, names, strict=True)]):.0%}"
    adapters.save_sheet(rows, sheet)
    return scores


def certainty(style: Style, count: int = 200) -> dict[str, str]:
    """How often the rule sees the style in rendered pictures, in it and not in it."""
    rng = np.random.default_rng(7_002)
    asked = [suitable_scene(rng, scenes.OBJECTS) for _ in range(count)]
    shares = {
        word: np.mean([style.shows(render(each, rng)) for each in asked])
        for word, render in (("ceiling", style.render), ("mistaken", scenes.render))
    }
    return {word: f"{share:.0%}" for word, share in shares.items()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("style", choices=STYLES)
    parser.add_argument("--base", type=Path, default=adapters.BASE)
    parser.add_argument("--out", type=Path, default=Path("models/Lora"))
    parser.add_argument("--sheets", type=Path, default=Path("pocket-sheets"))
    parser.add_argument("--count", type=int, default=200, help="how many pictures")
    parser.add_argument("--minutes", type=float, default=3.5, help="processor time of the training")
    parser.add_argument("--again", action="store_true", help="train nothing: measure the file that is there once more")
    options = parser.parse_args()
    adapters.begin()
    style, model = STYLES[options.style], adapters.load_base(options.base)
    family = "sdxl" if isinstance(model, ModelXL) else "sd1"
    path = options.out / f"pocket-{style.name}-{family}.safetensors"
    if options.again:
        lora, steps = load_lora(model, path)
    else:
        pictures, captions = make_pictures(style, options.count, 61)
        lora, steps = train(model, pictures, captions, options.minutes)
        save(lora, path, style, family, options.base.name, options.count, steps)
    title = TITLES[style.name]
    scores = measure(model, lora, style, options.sheets / f"{path.stem}.png")
    log.info("%d steps: %s", steps, scores)
    facts = scores | certainty(style) | {
        "title": title, "base": "Pocket SDXL" if family == "sdxl" else "Pocket SD1", "name": style.name,
        "words": style.words, "file": path.stem, "rank": RANK, "layers": len(lora.changes),
        "kilobytes": adapters.kilobytes(path), "steps": f"{steps:,}", "minutes": f"{options.minutes:g}",
        "count": options.count, "option": "" if family == "sd1" else f" --base {options.base}",
    }  # fmt: skip
    entry = {"title": title, "description": DESCRIPTIONS[style.name], "trigger_words": style.words}
    adapters.write_card(path, CARD, facts, entry)


if __name__ == "__main__":
    main()
