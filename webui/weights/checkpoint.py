"""What a checkpoint is made of, as its header or its folder tells. Torch is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

from webui.domain.models import CONTROLLED, EDITING, Family, ModelDefaults, PartSlot
from webui.domain.pipelines import find_pipeline
from webui.weights.formats.headers import read_header

VARIANTS: Mapping[int, str] = MappingProxyType({4: "", 8: EDITING, 9: "inpainting"})
"""Input channels of a network → what it is called: 4 of noisy latents, 1 of a mask, 4 of a picture's latents.

With 8 there is no mask: the picture is what an instruction edits (InstructPix2Pix)."""

FLUX_VARIANTS: Mapping[int, str] = MappingProxyType({64: "", 128: CONTROLLED, 384: "inpainting"})
"""The same of a Flux transformer, for 4 latents a token: 16 channels, 16 of a picture's latents, 64 of a mask."""


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

    With `dynamic`, the shift grows with the number of tokens of a picture; else it is `shift`. `terminal`, where it is
    not 0: what the last step of a run begins with, whatever their number. `by_steps`: the shift depends on it.
    """

    train_steps: int = 1000
    shift: float = 1.0
    dynamic: bool = False
    base_shift: float = 0.5
    max_shift: float = 1.15
    base_tokens: int = 256
    max_tokens: int = 4096
    terminal: float = 0.0
    by_steps: bool = False


@dataclass(frozen=True)
class EdmSchedule:
    """How a model of continuous noise levels was trained to see noise: diffusers' names and meanings.

    (Karras et al. 2022, arXiv:2206.00364.)
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    sigma_data: float = 0.5
    prediction: str = "epsilon"  # or "v_prediction"


AnySchedule = NoiseSchedule | FlowSchedule | EdmSchedule

Scaling = Mapping[str, Any]
"""What networks are given instead of a VAE's own latents: settings of diffusers' VAEs."""
_SCALING = ("scaling_factor", "shift_factor", "latents_mean", "latents_std")


@dataclass(frozen=True)
class Part:
    """One network of a checkpoint: its class in diffusers or transformers, that class's configuration, its files.

    `layout` is how its weights are named: "diffusers" (or transformers) as the class does, "original" as its makers
    did, "open_clip" as OpenCLIP does; their names begin with `prefix`. With `eight_bit` its linear layers keep 8-bit
    floats, however the files have them.
    """

    network: str
    config: Mapping[str, Any]
    files: tuple[Path, ...]
    layout: str = "diffusers"
    prefix: str = ""
    eight_bit: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """What is needed to build a checkpoint's networks.

    `parts` have diffusers' names: `unet` or `transformer`, `vae`, `text_encoder`, for some families `text_encoder_2`
    and so on. `tokenizers` are the folders of the text encoders' tokenizers; one that is missing is CLIP's own.
    `zero_negative`: an empty negative prompt becomes zeros. `text_length`: the most tokens that the longest text
    encoder reads, where the files say so. `defaults`: what such a model proposes unless its card does. `slots`: what
    may come from files of their own; a checkpoint that lacks one of them can be used only with such a file. `index`:
    the model_index.json of a folder that diffusers' own pipeline runs. `told_variant`: a variant that no network's
    configuration tells.
    """

    path: Path
    family: Family
    layout: str  # "diffusers" (a folder) or "original" (a file)
    parts: Mapping[str, Part]
    tokenizers: Mapping[str, Path] = field(default_factory=dict)
    noise: AnySchedule = field(default_factory=NoiseSchedule)
    zero_negative: bool = False
    text_length: int | None = None
    defaults: ModelDefaults = field(default_factory=ModelDefaults)
    slots: tuple[PartSlot, ...] = ()
    told_variant: str = ""
    index: Mapping[str, Any] = field(default_factory=dict)

    @property
    def components(self) -> tuple[str, ...]:
        """The names of the networks."""
        return tuple(self.parts)

    @property
    def configs(self) -> Mapping[str, Mapping[str, Any]]:
        """The configurations of the networks."""
        return {name: part.config for name, part in self.parts.items()}

    @property
    def denoiser(self) -> str:
        """The name of the network that sees clean latents in noisy ones."""
        return "transformer" if "transformer" in self.parts else "unet"

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """The names of those that read texts."""
        return tuple(name for name in self.parts if is_text_encoder(name))

    @property
    def variant(self) -> str:
        """What the network sees besides noisy latents: "" nothing, "inpainting" a mask and a picture's latents.

        For what diffusers' own pipeline runs, what users call that.
        """
        pipeline = find_pipeline(str(self.index.get("_class_name")))
        if pipeline is not None:
            return pipeline.words
        if self.told_variant:
            return self.told_variant
        denoiser = self.parts[self.denoiser]
        if denoiser.network == "FluxTransformer2DModel":
            return FLUX_VARIANTS[denoiser.config.get("in_channels", 64)]
        return VARIANTS[denoiser.config.get("in_channels", 4)] if "unet" in self.parts else ""

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """Every weight file once, sorted."""
        return tuple(sorted({file for part in self.parts.values() for file in part.files}))


def is_text_encoder(component: str) -> bool:
    """Tell whether a component reads texts and draws nothing."""
    return component.startswith("text_encoder")


def count_parameters(checkpoint: Checkpoint, component: str) -> int:
    """Return how many numbers the weights of one component hold."""
    part = checkpoint.parts[component]
    tensors = (entry for file in part.files for entry in read_header(file).items())
    return sum(prod(facts.shape) for name, facts in tensors if name.startswith(part.prefix))


def scaling_of(config: Mapping[str, Any]) -> Scaling:
    """Return how far the latents of the VAE of this configuration are shifted and scaled."""
    return {name: tuple(value) if isinstance(value := config.get(name), list) else value for name in _SCALING}
