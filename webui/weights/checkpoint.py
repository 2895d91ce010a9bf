"""What a checkpoint is made of, as its header or its folder tells. Torch is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

from webui.domain.models import Family, ModelDefaults
from webui.weights.headers import read_header

VARIANTS: Mapping[int, str] = MappingProxyType({4: "", 9: "inpainting"})
"""Input channels of a network → what it is called: 4 of noisy latents, 1 of a mask, 4 of a picture's latents."""


@dataclass(frozen=True)
class NoiseSchedule:
    """How the model was trained to see noise: diffusers' names and meanings.

    `zero_terminal`: the levels were stretched until nothing of a picture is left at the highest.
    """

    train_steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = "scaled_linear"  # or "linear"
    prediction: str = "epsilon"  # or "v_prediction"
    zero_terminal: bool = False


@dataclass(frozen=True)
class FlowSchedule:
    """How a flow-matching model was trained to see noise: diffusers' names and meanings.

    With `dynamic`, the shift grows with the number of tokens of a picture; else it is `shift`.
    """

    train_steps: int = 1000
    shift: float = 1.0
    dynamic: bool = False
    base_shift: float = 0.5
    max_shift: float = 1.15
    base_tokens: int = 256
    max_tokens: int = 4096


@dataclass(frozen=True)
class Checkpoint:
    """What is needed to build a checkpoint's networks.

    `configs` are diffusers' and transformers' configurations by component, under diffusers' names: `unet` or
    `transformer`, `vae`, `text_encoder`, for some families `text_encoder_2`. `zero_negative`: an
    empty negative prompt becomes zeros.
    """

    path: Path
    family: Family
    layout: str  # "diffusers" or "original"
    configs: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, tuple[Path, ...]]  # weight files by component; all the same one in the original layout
    prefixes: Mapping[str, str] = field(default_factory=dict)  # what a component's names begin with in such a file
    noise: NoiseSchedule | FlowSchedule = field(default_factory=NoiseSchedule)
    zero_negative: bool = False

    @property
    def components(self) -> tuple[str, ...]:
        """The names of the networks."""
        return tuple(self.configs)

    @property
    def denoiser(self) -> str:
        """The name of the network that sees clean latents in noisy ones."""
        return "transformer" if "transformer" in self.configs else "unet"

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """The names of those that read texts."""
        return tuple(name for name in self.configs if is_text_encoder(name))

    @property
    def t5_encoders(self) -> tuple[str, ...]:
        """The names of those of them that are T5's."""
        return ("text_encoder_2",) if self.family is Family.FLUX else ()

    @property
    def defaults(self) -> ModelDefaults:
        """What such a model proposes unless its card does."""
        if self.family is not Family.FLUX:
            return ModelDefaults()
        distilled = self.configs["transformer"].get("guidance_embeds", False)
        return ModelDefaults(
            width=1024,
            height=1024,
            steps=20 if distilled else 4,
            guidance=1.0,
            distilled_guidance=3.5 if distilled else None,
            sampler="Euler",
            schedule="Simple",
        )

    @property
    def variant(self) -> str:
        """What the network sees besides noisy latents: "" nothing, "inpainting" a mask and a picture's latents."""
        return VARIANTS[self.configs["unet"].get("in_channels", 4)] if "unet" in self.configs else ""

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """Every weight file once, sorted."""
        return tuple(sorted({file for files in self.files.values() for file in files}))


def is_text_encoder(component: str) -> bool:
    """Tell whether a component reads texts and draws nothing."""
    return component.startswith("text_encoder")


def count_parameters(checkpoint: Checkpoint, component: str) -> int:
    """Return how many numbers the weights of one component hold."""
    prefix = checkpoint.prefixes.get(component, "")
    headers = [read_header(file) for file in checkpoint.files[component]]
    return sum(prod(facts.shape) for header in headers for name, facts in header.items() if name.startswith(prefix))
