"""The files of Flux.1: dev, schnell, Fill, Canny, Depth and Kontext."""

from __future__ import annotations

from pathlib import Path

from webui.domain.models import CONTROLLED, KONTEXT, Family, ModelDefaults, PartSlot
from webui.weights.checkpoint import FLUX_VARIANTS, Checkpoint, FlowSchedule, Part
from webui.weights.families.checks import Configs, check_levels
from webui.weights.families.family import CLIP_TOKENIZERS, T5_TOKENIZERS, FamilyFiles
from webui.weights.families.parts import find_prefix, read_parts, scaled
from webui.weights.families.schedules import read_flow_schedule
from webui.weights.families.transformers import check_axes, check_scales
from webui.weights.formats.headers import Header, bad_model
from webui.weights.recognition.shapes import part_of_header
from webui.weights.recognition.transformer_shapes import describe_flux

WORDS = "a Flux"
SCALE, SHIFT = 0.3611, 0.1159  # of its latents
_MARK = "double_blocks.0.img_attn.qkv.weight"
_RELATIVES = ("distilled_guidance_layer.", "double_stream_modulation_")  # what Chroma and Flux.2 have besides
_DEV = FlowSchedule(shift=3.0, dynamic=True)
_SCHNELL = FlowSchedule(shift=1.0)
USUAL_GUIDANCE = {"": 3.5, "inpainting": 30.0, CONTROLLED: 10.0}  # what the makers tell their networks, by variant
_KONTEXT = frozenset({"FluxKontextPipeline", "FluxKontextInpaintPipeline"})
_NAMED_KONTEXT = "kontext"  # in a file's name: nothing inside tells it from dev
_CONTROL = frozenset({"FluxControlPipeline", "FluxControlImg2ImgPipeline", "FluxControlInpaintPipeline"})


def _check(path: Path, configs: Configs) -> None:
    _check_transformer(path, configs)
    if "vae" in configs:
        _check_vae(path, configs)
    _check_texts(path, configs)


def _check_transformer(path: Path, configs: Configs) -> None:
    transformer = configs["transformer"]
    channels = transformer.get("in_channels", 64)
    outputs = transformer.get("out_channels") or channels
    if channels not in tuple(FLUX_VARIANTS) or (outputs, transformer.get("patch_size", 1)) != (64, 1):
        raise bad_model(path, "not a Flux checkpoint: its latents do not have 16 channels")
    check_axes(path, transformer.get("axes_dims_rope", (16, 56, 56)), transformer.get("attention_head_dim", 128), 3)


def _check_vae(path: Path, configs: Configs) -> None:
    vae = configs["vae"]
    if vae.get("latent_channels", 4) != 16:
        raise bad_model(path, "not a Flux checkpoint: its latents do not have 16 channels")
    check_levels(path, WORDS, vae)
    check_scales(path, vae)


def _check_texts(path: Path, configs: Configs) -> None:
    transformer, first, second = configs["transformer"], configs.get("text_encoder"), configs.get("text_encoder_2")
    if first is not None and transformer.get("pooled_projection_dim", 768) != first.get("hidden_size", 512):
        raise bad_model(path, "its transformer and its first text encoder do not fit together")
    if second is not None and transformer.get("joint_attention_dim", 4096) != second.get("d_model", 512):
        raise bad_model(path, "its transformer and its second text encoder do not fit together")


def _defaults(configs: Configs) -> ModelDefaults:
    transformer = configs["transformer"]
    distilled = transformer.get("guidance_embeds", False)
    usual = USUAL_GUIDANCE[FLUX_VARIANTS[transformer.get("in_channels", 64)]]
    return ModelDefaults(
        width=1024,
        height=1024,
        steps=20 if distilled else 4,
        guidance=1.0,
        distilled_guidance=usual if distilled else None,
        sampler="Euler",
        schedule="Simple",
    )


def _slots(configs: Configs) -> tuple[PartSlot, ...]:
    transformer = configs["transformer"]
    return (
        PartSlot(component="vae", role="vae", width=16, words="VAE"),
        PartSlot(
            component="text_encoder", role="clip", width=transformer.get("pooled_projection_dim", 768), words="CLIP-L"
        ),
        PartSlot(
            component="text_encoder_2", role="t5", width=transformer.get("joint_attention_dim", 4096), words="T5-XXL"
        ),
    )


def _fit(slot: PartSlot, part: Part) -> Part:
    return scaled(part, SCALE, SHIFT) if slot.role == "vae" else part


def _read_single_file(path: Path, header: Header) -> Checkpoint | None:
    """Return what a file of the makers' layout is made of: a transformer, and perhaps VAE and text encoders."""
    prefix = find_prefix(header, _MARK)
    if prefix is None or any(name.startswith(tuple(f"{prefix}{sign}" for sign in _RELATIVES)) for name in header):
        return None
    try:
        transformer = describe_flux(part_of_header(header, prefix))
    except (KeyError, IndexError, ValueError, StopIteration) as error:
        raise bad_model(path, f"not {WORDS} checkpoint: it lacks {error}") from error
    slots = _slots({"transformer": transformer})
    network = Part("FluxTransformer2DModel", transformer, (path,), "original", prefix)
    parts = read_parts(path, header, network, slots, _fit)
    configs = {name: part.config for name, part in parts.items()}
    _check(path, configs)
    noise = _DEV if transformer["guidance_embeds"] else _SCHNELL
    return Checkpoint(
        path,
        Family.FLUX,
        "original",
        parts,
        noise=noise,
        defaults=_defaults(configs),
        slots=slots,
        told_variant=KONTEXT if _NAMED_KONTEXT in path.stem.lower() else "",
    )


FILES = FamilyFiles(
    family=Family.FLUX,
    words=WORDS,
    pipelines=frozenset(
        {"FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline", "FluxFillPipeline", *_KONTEXT, *_CONTROL}
    ),
    classes={
        "transformer": frozenset({"FluxTransformer2DModel"}),
        "vae": frozenset({"AutoencoderKL"}),
        "text_encoder": frozenset({"CLIPTextModel"}),
        "tokenizer": CLIP_TOKENIZERS,
        "text_encoder_2": frozenset({"T5EncoderModel"}),
        "tokenizer_2": T5_TOKENIZERS,
    },
    tokenizer="tokenizer_2",
    read_noise=read_flow_schedule,
    check=_check,
    defaults=_defaults,
    variant=lambda facts: KONTEXT if facts.index.get("_class_name") in _KONTEXT else "",
    single_file=_read_single_file,
    slots=_slots,
    fit=_fit,
)
