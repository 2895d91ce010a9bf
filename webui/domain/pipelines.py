"""The pipelines of diffusers that draw pictures of texts in their own way: no family of ours knows their parts."""

from __future__ import annotations

from typing import Literal

from webui.domain.frozen import Data
from webui.domain.models import Family, ModelDefaults, ModelInfo

ALWAYS_LACKING = (
    "samplers and schedules", "hires. fix", "refiner", "img2img", "inpainting", "ControlNet", "LoRA", "other VAEs",
    "tiling", "variation seeds", "clip skip", "emphasis", "prompt editing",
)  # fmt: skip
"""What none of them can be asked for: each brings its own sampler, reads texts in its own way, begins with noise."""


class PipelineInfo(Data):
    """One pipeline: its class, what users call it, what it proposes, and what it can be asked for.

    `reads`: a text, the name or number of a class it was trained on, or nothing at all. `steps` and `guidance` are
    its names for them (empty: it knows none); `negative`, `sized`: whether it takes a negative prompt and a size.
    """

    name: str
    words: str
    defaults: ModelDefaults
    reads: Literal["text", "class", "nothing"] = "text"
    steps: str = "num_inference_steps"
    guidance: str = "guidance_scale"
    negative: bool = True
    sized: bool = True

    @property
    def lacks(self) -> tuple[str, ...]:
        """What it cannot be asked for, in words for users."""
        own = {
            "prompts": self.reads == "nothing",
            "prompts besides the names of its classes": self.reads == "class",
            "negative prompts": not self.negative,
            "CFG": not self.guidance,
            "sizes besides its own": not self.sized,
        }
        return (*(words for words, holds in own.items() if holds), *ALWAYS_LACKING)


def _defaults(side: int | None, steps: int, guidance: float | None = None) -> ModelDefaults:
    return ModelDefaults(width=side, height=side, steps=steps, guidance=guidance)


_PRIOR = {"steps": "prior_num_inference_steps", "guidance": "prior_guidance_scale"}
"""Würstchen and its heir draw in the prior; their decoders only enlarge."""

PIPELINES: tuple[PipelineInfo, ...] = (
    PipelineInfo(name="AmusedPipeline", words="aMUSEd", defaults=_defaults(512, 12, 10.0)),
    PipelineInfo(name="BriaPipeline", words="Bria 3", defaults=_defaults(1024, 30, 5.0)),
    PipelineInfo(name="BriaFiboPipeline", words="Bria FIBO", defaults=_defaults(1024, 30, 5.0)),
    PipelineInfo(name="CogView3PlusPipeline", words="CogView3 Plus", defaults=_defaults(1024, 50, 5.0)),
    PipelineInfo(name="CogView4Pipeline", words="CogView4", defaults=_defaults(1024, 50, 5.0)),
    PipelineInfo(
        name="ConsistencyModelPipeline", words="a consistency model", defaults=_defaults(None, 1), reads="class",
        guidance="", negative=False, sized=False,
    ),
    PipelineInfo(
        name="DDIMPipeline", words="an unconditional DDIM", defaults=_defaults(None, 50), reads="nothing", guidance="",
        negative=False, sized=False,
    ),
    PipelineInfo(
        name="DDPMPipeline", words="an unconditional DDPM", defaults=_defaults(None, 150), reads="nothing", guidance="",
        negative=False, sized=False,
    ),
    PipelineInfo(
        name="DiTPipeline", words="DiT", defaults=_defaults(None, 25, 4.0), reads="class", negative=False, sized=False
    ),
    PipelineInfo(name="ErnieImagePipeline", words="Ernie Image", defaults=_defaults(1024, 50, 4.0)),
    PipelineInfo(name="HiDreamImagePipeline", words="HiDream", defaults=_defaults(1024, 50, 5.0)),
    PipelineInfo(name="IFPipeline", words="DeepFloyd IF, its first stage", defaults=_defaults(64, 100, 7.0)),
    PipelineInfo(name="Ideogram4Pipeline", words="Ideogram 4", defaults=_defaults(2048, 48, 7.0), negative=False),
    PipelineInfo(name="Kandinsky3Pipeline", words="Kandinsky 3", defaults=_defaults(1024, 25, 3.0)),
    PipelineInfo(name="KandinskyCombinedPipeline", words="Kandinsky 2.1", defaults=_defaults(512, 100, 4.0)),
    PipelineInfo(name="KandinskyV22CombinedPipeline", words="Kandinsky 2.2", defaults=_defaults(512, 100, 4.0)),
    PipelineInfo(name="Krea2Pipeline", words="Krea 2", defaults=_defaults(1024, 28, 4.5)),
    PipelineInfo(
        name="LDMTextToImagePipeline", words="Latent Diffusion", defaults=_defaults(256, 50, 6.0), negative=False
    ),
    PipelineInfo(name="LuminaPipeline", words="Lumina", defaults=_defaults(1024, 30, 4.0)),
    PipelineInfo(name="OmniGenPipeline", words="OmniGen", defaults=_defaults(1024, 50, 2.5), negative=False),
    PipelineInfo(name="OvisImagePipeline", words="Ovis Image", defaults=_defaults(1024, 50, 5.0)),
    PipelineInfo(name="PRXPipeline", words="PRX", defaults=_defaults(512, 28, 4.0)),
    PipelineInfo(name="PRXPixelPipeline", words="PRX in pixels", defaults=_defaults(1024, 28, 4.0)),
    PipelineInfo(
        name="StableCascadeCombinedPipeline", words="Stable Cascade", defaults=_defaults(1024, 20, 4.0), **_PRIOR
    ),
    PipelineInfo(name="StableUnCLIPPipeline", words="Stable unCLIP", defaults=_defaults(768, 20, 10.0)),
    PipelineInfo(
        name="UnCLIPPipeline", words="unCLIP", defaults=_defaults(256, 25, 8.0), steps="decoder_num_inference_steps",
        guidance="decoder_guidance_scale", negative=False, sized=False,
    ),
    PipelineInfo(name="UniDiffuserPipeline", words="UniDiffuser", defaults=_defaults(512, 20, 8.0)),
    PipelineInfo(
        name="VQDiffusionPipeline", words="VQ Diffusion", defaults=_defaults(256, 100, 5.0), negative=False, sized=False
    ),
    PipelineInfo(name="WuerstchenCombinedPipeline", words="Würstchen", defaults=_defaults(1024, 60, 4.0), **_PRIOR),
)  # fmt: skip

_BY_NAME = {info.name: info for info in PIPELINES}
_BY_WORDS = {info.words: info for info in PIPELINES}


def find_pipeline(name: str) -> PipelineInfo | None:
    """Return the pipeline of the class `name`, None when it is none of these."""
    return _BY_NAME.get(name)


def pipeline_of(model: ModelInfo) -> PipelineInfo | None:
    """Return the pipeline that runs `model`, None for a model of a family of ours."""
    return _BY_WORDS[model.variant] if model.family is Family.OTHER else None


def lacks(model: ModelInfo) -> tuple[str, ...]:
    """Return what `model` cannot be asked for, in words for users: nothing, if it is of a family of ours."""
    pipeline = pipeline_of(model)
    return () if pipeline is None else pipeline.lacks
