"""Measure a pocket model on prompts it never saw: does the picture show what the words say?

    python -m tools.pocket.evaluate models/Stable-diffusion/pocket-sd1 --out /tmp/pocket/figures --count 500

Writes scores.json and sheet.jpg.  Pictures are judged by `scorer`, which knows rendered scenes only.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, FluxPipeline, UNet2DConditionModel
from numpy.random import Generator
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from typing_extensions import Self

from tools.pocket import scenes
from tools.pocket.scorer import JUDGED, Scorer
from tools.pocket.training import as_pictures, as_tensor
from webui.engine.families.flux import pack


@dataclass(frozen=True)
class Model:
    """The parts of a diffusers folder, and the plainest way to make pictures with them."""

    tokenizer: CLIPTokenizer
    text: CLIPTextModel
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    schedule: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """From a StableDiffusionPipeline folder, in single precision."""
        return cls(
            CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            CLIPTextModel.from_pretrained(folder / "text_encoder").float().eval(),
            UNet2DConditionModel.from_pretrained(folder / "unet").float().eval(),
            AutoencoderKL.from_pretrained(folder / "vae").float().eval(),
            json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8")),
        )

    def encode(self, texts: Sequence[str]) -> dict[str, Any]:
        """What the denoiser is told of `texts`: caption states [n, 77, width]."""
        return {"encoder_hidden_states": self.text(_ids(self.tokenizer, texts)).last_hidden_state}

    @torch.no_grad()
    def draw(
        self, prompts: Sequence[str], negative: str | None = None, *, steps: int = 20, guidance: float = 5.0,
        seed: int = 0, batch: int = 25, karras: bool = True,
    ) -> np.ndarray:  # fmt: skip
        """uint8 pictures, one for each prompt, by DPM++ 2M."""
        noise = torch.randn(len(prompts), 4, 16, 16, generator=torch.Generator().manual_seed(seed))
        pictures = []
        for start in range(0, len(prompts), batch):
            part = prompts[start : start + batch]
            told = self.encode([negative or ""] * len(part) + list(part))
            names = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule")
            scheduler = DPMSolverMultistepScheduler(**{n: self.schedule[n] for n in names}, use_karras_sigmas=karras)
            scheduler.set_timesteps(steps)
            latents = noise[start : start + batch] * scheduler.init_noise_sigma
            for moment in scheduler.timesteps:
                both = scheduler.scale_model_input(torch.cat([latents, latents]), moment)
                with torch.autocast("cpu", torch.bfloat16):
                    predicted = self.unet(both, moment, **told).sample.float()
                without, with_words = predicted.chunk(2)
                latents = scheduler.step(without + guidance * (with_words - without), moment, latents).prev_sample
            with torch.autocast("cpu", torch.bfloat16):
                pictures.append(as_pictures(self.vae.decode(latents / self.vae.config.scaling_factor).sample))
        return np.concatenate(pictures)


@dataclass(frozen=True)
class ModelXL(Model):
    """The same for a StableDiffusionXLPipeline folder."""

    tokenizer_2: CLIPTokenizer
    text_2: CLIPTextModelWithProjection

    @classmethod
    def load(cls, folder: Path) -> Self:
        """In single precision."""
        plain = Model.load(folder)
        parts = {field.name: getattr(plain, field.name) for field in fields(Model)}
        return cls(
            **parts,
            tokenizer_2=CLIPTokenizer.from_pretrained(folder / "tokenizer_2"),
            text_2=CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2").float().eval(),
        )

    def encode(self, texts: Sequence[str]) -> dict[str, Any]:
        """States of both encoders side by side, the second one's pooled state, and the sizes of a plain picture."""
        first = self.text(_ids(self.tokenizer, texts), output_hidden_states=True).hidden_states[-2]
        second = self.text_2(_ids(self.tokenizer_2, texts), output_hidden_states=True)
        sizes = torch.tensor([[scenes.SIZE, scenes.SIZE, 0, 0, scenes.SIZE, scenes.SIZE]] * len(texts))
        return {
            "encoder_hidden_states": torch.cat([first, second.hidden_states[-2]], -1),
            "added_cond_kwargs": {"text_embeds": second.text_embeds, "time_ids": sizes.float()},
        }


@dataclass(frozen=True)
class ModelFlux:
    """The same for a FluxPipeline folder, by Euler's method."""

    pipeline: FluxPipeline

    @classmethod
    def load(cls, folder: Path) -> Self:
        """In single precision."""
        pipeline = FluxPipeline.from_pretrained(folder, dtype=torch.float32)
        pipeline.set_progress_bar_config(disable=True)
        return cls(pipeline)

    @property
    def vae(self) -> AutoencoderKL:
        """The coder."""
        return self.pipeline.vae

    @torch.no_grad()
    def draw(
        self, prompts: Sequence[str], negative: str | None = None, *, steps: int = 20, guidance: float = 5.0,
        seed: int = 0, batch: int = 25,
    ) -> np.ndarray:  # fmt: skip
        """uint8 pictures, one for each prompt: `guidance` is told, or with a negative prompt done by a second look."""
        noise = torch.randn(len(prompts), 16, 16, 16, generator=torch.Generator().manual_seed(seed))
        guided = {"guidance_scale": guidance}
        pictures = []
        for start in range(0, len(prompts), batch):
            part = list(prompts[start : start + batch])
            if negative is not None:
                guided = {"guidance_scale": 1.0, "true_cfg_scale": guidance, "negative_prompt": [negative] * len(part)}
            with torch.autocast("cpu", torch.bfloat16):
                images = self.pipeline(
                    part, height=scenes.SIZE, width=scenes.SIZE, num_inference_steps=steps, output_type="pt",
                    latents=pack(noise[start : start + batch]),
                    max_sequence_length=self.pipeline.tokenizer_2.model_max_length, **guided,
                ).images  # fmt: skip
            pictures.append(as_pictures(images * 2 - 1))
        return np.concatenate(pictures)


AnyModel = Model | ModelFlux


def _ids(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    return tokenizer(list(texts), padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids


def load_model(folder: Path) -> AnyModel:
    """The model in a diffusers folder, of any of the three families."""
    if (folder / "transformer").is_dir():
        return ModelFlux.load(folder)
    return ModelXL.load(folder) if (folder / "text_encoder_2").is_dir() else Model.load(folder)


@dataclass(frozen=True)
class Question:
    """A prompt and the answer a perfect picture would give: integers as in scenes.LABELS, in the judge's order."""

    prompt: str
    answer: tuple[int, ...]


def _article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def single_question(rng: Generator) -> Question:
    """One thing of a combination that training never drew alone."""
    while True:
        background = scenes.random_background(rng)
        name, colour = str(rng.choice(scenes.OBJECTS)), str(rng.choice(scenes.visible_colours(background)))
        if scenes.is_held_out(name, colour, background):
            break
    thing, place = _article(f"{colour} {name}"), scenes.background_phrase(background, rng)
    wording = (f"{thing} {place}", f"{thing}, {place}", f"{colour} {name}, {place}", f"a picture of {thing}, {place}")
    codes = scenes.label_codes(scenes.Caption("", name, colour, "", "", "", "", background, "single"))
    return Question(str(rng.choice(wording)), _judged(codes))


def pair_question(rng: Generator) -> Question:
    """Two different things and how they stand to each other."""
    scene = scenes.random_scene(rng, pairs=1.0)
    first, second = scene.things
    a, b = (_article(f"{thing.colour} {thing.object}") for thing in (first, second))
    if scene.relation == "beside":
        wording = (f"{a} on the left and {b} on the right", f"{a} next to {b}", f"{b} to the right of {a}")
    else:
        wording = (f"{a} above {b}", f"{b} under {a}", f"{b} below {a}")
    prompt = f"{rng.choice(wording)}, {scenes.background_phrase(scene.background, rng)}"
    return Question(prompt, _judged(scenes.scene_codes(scene)))


def _judged(codes: Sequence[int]) -> tuple[int, ...]:
    names = list(scenes.LABELS)
    return tuple(int(codes[names.index(name)]) for name in JUDGED)


def agreement(questions: Sequence[Question], codes: np.ndarray) -> dict[str, float]:
    """Shares of right answers: one label at a time, and together."""
    right = codes == np.array([question.answer for question in questions])
    at = {name: right[:, k] for k, name in enumerate(JUDGED)}
    both_objects = at["object"] & at["second_object"]
    both_colours = at["colour"] & at["second_colour"]
    shares = {
        **at, "both_objects": both_objects, "both_colours": both_colours,
        "all": both_objects & both_colours & at["background"],
    }  # fmt: skip
    return {name: round(float(values.mean()), 4) for name, values in shares.items()}


NEGATIVE_PROMPTS = (
    "a circle on a gray background",
    "a house in the snow",
    "a star",
    "a cat on a field",
    "a boat at sea",
)


def negative_test(model: AnyModel, scorer: Scorer, count: int = 40) -> list[dict[str, Any]]:
    """How the share of the likeliest colour falls when the negative prompt names it."""
    results = []
    colours = tuple(scenes.COLOURS)
    for number, prompt in enumerate(NEGATIVE_PROMPTS):

        def share_of(negative: str, prompt: str = prompt, seed: int = 900 + number) -> Counter[str]:
            codes = scorer.codes(model.draw([prompt] * count, negative, seed=seed))
            return Counter(colours[code - 1] for code in codes[:, JUDGED.index("colour")] if code)

        before = share_of("")
        colour, times = before.most_common(1)[0]
        after = share_of(colour)[colour]
        results.append({
            "prompt": prompt, "negative": colour, "share": times / count, "share_with_negative": after / count,
            "cut": round(1 - after / times, 3),
        })  # fmt: skip
    return results


@torch.no_grad()
def evaluate(
    folder: Path, out: Path, count: int = 500, *, full: bool = True, guidance: float = 5.0, negative: str | None = None
) -> dict[str, Any]:
    """All figures; three quarters of the prompts name one thing, one quarter two."""
    out.mkdir(parents=True, exist_ok=True)
    model, scorer = load_model(folder), Scorer.load()
    rng = np.random.default_rng(20_000)
    singles = [single_question(rng) for _ in range(count * 3 // 4)]
    pairs = [pair_question(rng) for _ in range(count - len(singles))]
    questions = singles + pairs
    began = time.process_time()
    pictures = model.draw([question.prompt for question in questions], negative, seed=1, guidance=guidance)
    seconds = (time.process_time() - began) / len(questions)
    codes = scorer.codes(pictures)
    together = agreement(questions, codes)
    scores: dict[str, Any] = {
        "prompts": count, "guidance": guidance, "core_seconds_each_in_batches": round(seconds, 2),
        "single": agreement(singles, codes[: len(singles)]), "pair": agreement(pairs, codes[len(singles) :]),
        "overall": together,
    }  # fmt: skip
    if full:
        scores["negative"] = negative_test(model, scorer)
        scores["ceiling"] = _ceiling(model, scorer)
    (out / "scores.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    shown = [*range(min(72, len(singles))), *range(len(singles), min(len(singles) + 24, count))]
    board = scenes.sheet([pictures[index] for index in shown], 12)
    cv2.imwrite(str(out / "sheet.jpg"), board[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    wrong = [q.prompt for q, row in zip(questions, codes, strict=True) if tuple(row[:2]) != q.answer[:2]]
    (out / "wrong.txt").write_text("\n".join(wrong) + "\n", encoding="utf-8")
    return scores


def _ceiling(model: AnyModel, scorer: Scorer) -> dict[str, Any]:
    """What the judge says of real scenes, before and after the coder: no denoiser can score higher."""
    pictures, _, shown, _ = scenes.draw_chunk(777_777, 300)
    back = [
        model.vae.decode(model.vae.encode(part).latent_dist.mode()).sample for part in as_tensor(pictures).split(25)
    ]
    rebuilt = as_pictures(torch.cat(back))
    return {"rendered": scorer.accuracy(pictures, shown), "through the coder": scorer.accuracy(rebuilt, shown)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("pocket-figures"))
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--negative", help="for all prompts; Flux then takes a second look, instead of being told")
    parser.add_argument("--quick", action="store_true", help="only the prompts: no negatives, no ceiling")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    scores = evaluate(
        options.folder, options.out, options.count,
        full=not options.quick, guidance=options.guidance, negative=options.negative,
    )  # fmt: skip
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
