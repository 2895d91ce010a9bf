"""The files of Stable Diffusion 3 and 3.5."""

from __future__ import annotations

from pathlib import Path

from webui.domain.models import Family, ModelDefaults, PartSlot
from webui.weights.checkpoint import Checkpoint, FlowSchedule, Part
from webui.weights.families.checks import Configs, check_levels, unusable
from webui.weights.families.family import CLIP_TOKENIZERS, T5_TOKENIZERS, FamilyFiles
from webui.weights.families.parts import TRANSFORMERS, read_parts, scaled
from webui.weights.families.schedules import read_flow_schedule
from webui.weights.families.transformers import check_scales
from webui.weights.formats.headers import Header, bad_model
from webui.weights.recognition.shapes import part_of_header
from webui.weights.recognition.text_files import projected
from webui.weights.recognition.transformer_shapes import describe_sd3

WORDS = "an SD3"
SCALE, SHIFT = 1.5305, 0.0609  # of its latents
_BLOCKS = "joint_blocks."


def _check(path: Path, configs: Configs) -> None:
    transformer, vae = configs["transformer"], configs.get("vae")
    channels = transformer.get("in_channels", 16), transformer.get("out_channels", 16)
    if channels != (16, 16) or (vae is not None and vae.get("latent_channels", 4) != 16):
        raise bad_model(path, "not an SD3 checkpoint: its latents do not have 16 channels")
    if transformer.get("patch_size", 2) != 2:
        raise unusable(path, "transformer")
    if vae is not None:
        check_levels(path, WORDS, vae)
        check_scales(path, vae)
    _check_texts(path, configs)


def _check_texts(path: Path, configs: Configs) -> None:
    transformer = configs["transformer"]
    states, pooled = transformer.get("joint_attention_dim", 4096), transformer.get("pooled_projection_dim", 2048)
    clips = [configs[name] for name in ("text_encoder", "text_encoder_2") if name in configs]
    if len(clips) == 2:
        widths = sum(clip.get("hidden_size", 512) for clip in clips)
        if sum(clip.get("projection_dim", 512) for clip in clips) != pooled or widths > states:
            raise bad_model(path, "its transformer and its two CLIP text encoders do not fit together")
    if "text_encoder_3" in configs and configs["text_encoder_3"].get("d_model", 512) != states:
        raise bad_model(path, "its transformer and its third text encoder do not fit together")


def _defaults(configs: Configs) -> ModelDefaults:
    large = configs["transformer"].get("qk_norm") is not None
    return ModelDefaults(
        width=1024,
        height=1024,
        steps=28,
        guidance=4.5 if large else 7.0,
        sampler="Euler",
        schedule="Simple",
    )


def _slots(configs: Configs) -> tuple[PartSlot, ...]:
    transformer = configs["transformer"]
    pooled, states = transformer.get("pooled_projection_dim", 2048), transformer.get("joint_attention_dim", 4096)
    second = pooled * 5 // 8  # 1280 of 2048
    return (
        PartSlot(component="vae", role="vae", width=16, words="VAE"),
        PartSlot(component="text_encoder", role="clip", width=pooled - second, words="CLIP-L"),
        PartSlot(component="text_encoder_2", role="clip", width=second, words="CLIP-G"),
        PartSlot(component="text_encoder_3", role="t5", width=states, words="T5-XXL", optional=True),
    )


def _fit(slot: PartSlot, part: Part) -> Part:
    match slot.component:
        case "vae":
            return scaled(part, SCALE, SHIFT)
        case "text_encoder":
            return projected(part, identity=True)
        case "text_encoder_2":
            return projected(part, "gelu")
    return part


def _read_single_file(path: Path, header: Header) -> Checkpoint | None:
    """Return what a file of the makers' layout is made of: a transformer, and perhaps VAE and text encoders."""
    prefix = next((before for before in TRANSFORMERS if _has(header, f"{before}{_BLOCKS}")), None)
    if prefix is None:
        return None
    try:
        transformer = describe_sd3(part_of_header(header, prefix))
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise bad_model(path, f"not {WORDS} checkpoint: it lacks {error}") from error
    slots = _slots({"transformer": transformer})
    network = Part("SD3Transformer2DModel", transformer, (path,), "original", prefix)
    parts = read_parts(path, header, network, slots, _fit)
    configs = {name: part.config for name, part in parts.items()}
    _check(path, configs)
    return Checkpoint(
        path,
        Family.SD3,
        "original",
        parts,
        noise=FlowSchedule(shift=3.0),
        defaults=_defaults(configs),
        slots=slots,
    )


def _has(header: Header, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in header)


FILES = FamilyFiles(
    family=Family.SD3,
    words=WORDS,
    pipelines=frozenset(
        {"StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline"}
    ),
    classes={
        "transformer": frozenset({"SD3Transformer2DModel"}),
        "vae": frozenset({"AutoencoderKL"}),
        "text_encoder": frozenset({"CLIPTextModelWithProjection"}),
        "tokenizer": CLIP_TOKENIZERS,
        "text_encoder_2": frozenset({"CLIPTextModelWithProjection"}),
        "tokenizer_2": CLIP_TOKENIZERS,
        "text_encoder_3": frozenset({"T5EncoderModel"}),
        "tokenizer_3": T5_TOKENIZERS,
    },
    optional=frozenset({"text_encoder_3", "tokenizer_3"}),
    read_noise=read_flow_schedule,
    check=_check,
    defaults=_defaults,
    single_file=_read_single_file,
    slots=_slots,
    fit=_fit,
)
