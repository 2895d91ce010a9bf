"""What kind of model a file is, told from the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from webui.domain.models import Kind
from webui.errors import BadFile
from webui.weights.formats.headers import Header

_LORA = re.compile(
    r"lora_(down|up|mid|A|B|embedding_A|magnitude_vector)\b|[._]lora\d?\.(down|up)\b|\.(hada_[wt]\d|lokr_[wt]\d|oft_|dora_scale)"
    r"|^lora_(unet|te\d?|transformer|prior_unet)_|^lycoris_"
)
_HYPERNETWORK = re.compile(r"\d{2,4}\.[01]\.linear")  # the width of an attention; keys, values
_TAESD = re.compile(r"(taesd_|((en|de)coder\.)?(layers\.)?\d+\.conv\.0\.weight)")
_T2I = re.compile(r"(adapter\.)?body\.\d+\.(block1|in_conv|resnets)\b|adapter\.conv_in\.|transformer_layes\.")
_IP_ADAPTER = re.compile(r"image_proj\.|ip_adapter\b|ip_adapter_|.*\.ip_adapter_")
_TEXT_WIDTHS = (768, 1024, 1280, 2048, 4096)  # of one token, in the encoders that embeddings are made for
_TABLES = frozenset({"emb_params", "clip_l", "clip_g", "t5xxl"})

_CONTROLNET = (
    "control_model.", "controlnet_", "lora_controlnet", "lllite_", "input_hint_block.", "zero_convs.",
)  # fmt: skip
_CHECKPOINT = (
    "model.diffusion_model.", "diffusion_model.", "cond_stage_model.", "conditioner.embedders.", "input_blocks.",
    "down_blocks.", "time_embedding.", "double_blocks.", "single_blocks.", "joint_blocks.", "double_layers.",
    "transformer_blocks.", "single_transformer_blocks.", "joint_transformer_blocks.", "noise_refiner.", "cap_embedder.",
    "adaln_single.", "caption_projection.", "text_embedding_padding", "t_embedder.",
)  # fmt: skip
_TEXT_ENCODER = (
    "text_model.", "transformer.text_model.", "encoder.block.", "transformer.resblocks.", "token_embedding.",
    "model.embed_tokens.", "model.language_model.", "language_model.", "enc.blk.", "token_embd.", "shared.weight",
    "text_encoders.", "transformer.word_embeddings.", "embedding.word_embeddings.",
)  # fmt: skip
_IMAGE_ENCODER = ("vision_model.", "visual.", "image_encoder.")
_VAE = ("first_stage_model.", "encoder.conv_in.", "decoder.conv_in.", "vae.", "decoder.conv1.")
_UPSCALER = ("conv_first.", "params_ema.", "params.", "model.1.sub.", "swin2sr.", "body.0.")


@dataclass(frozen=True)
class KindWords:
    """What users call a model of a kind, and where it belongs."""

    words: str
    home: str


KINDS: Mapping[Kind, KindWords] = {
    Kind.CHECKPOINT: KindWords("a checkpoint", "models/Stable-diffusion"),
    Kind.LORA: KindWords("a LoRA", "models/Lora"),
    Kind.CONTROLNET: KindWords("a ControlNet", "models/ControlNet"),
    Kind.T2I_ADAPTER: KindWords("a T2I-Adapter", "models/ControlNet"),
    Kind.IP_ADAPTER: KindWords("an IP-Adapter", "models/ControlNet"),
    Kind.EMBEDDING: KindWords("a textual inversion", "models/embeddings"),
    Kind.HYPERNETWORK: KindWords("a hypernetwork", "models/hypernetworks"),
    Kind.TEXT_ENCODER: KindWords("a text encoder", "models/text_encoder"),
    Kind.IMAGE_ENCODER: KindWords("an image encoder", "models/clip_vision"),
    Kind.TAESD: KindWords("a TAESD", "models/VAE-approx"),
    Kind.VAE: KindWords("a VAE", "models/VAE"),
    Kind.UPSCALER: KindWords("an upscaler", "models/ESRGAN"),
}


def _begins(*prefixes: str) -> Callable[[Header], bool]:
    return lambda header: any(name.startswith(prefixes) for name in header)


def _looks(pattern: re.Pattern[str]) -> Callable[[Header], bool]:
    return lambda header: any(pattern.match(name) for name in header)


def _is_lora(header: Header) -> bool:
    return any(_LORA.search(name) for name in header)


def _is_embedding(header: Header) -> bool:
    if not _TABLES.isdisjoint(header) or any(name.startswith("string_to_param") for name in header):
        return True
    if len(header) > 2:  # diffusers names the one tensor after the word that it stands for
        return False
    return bool(header) and all(
        len(facts.shape) in (1, 2) and facts.shape[-1] in _TEXT_WIDTHS and "." not in name
        for name, facts in header.items()
    )


# The first that agrees names the kind: a checkpoint holds a VAE and a text encoder too, a ControlNet is made like a
# checkpoint, and an IP-Adapter may have LoRAs in it.
_SIGNS: tuple[tuple[Kind, Callable[[Header], bool]], ...] = (
    (Kind.IP_ADAPTER, _looks(_IP_ADAPTER)),
    (Kind.CONTROLNET, _begins(*_CONTROLNET)),
    (Kind.LORA, _is_lora),
    (Kind.CHECKPOINT, _begins(*_CHECKPOINT)),
    (Kind.HYPERNETWORK, _looks(_HYPERNETWORK)),
    (Kind.T2I_ADAPTER, _looks(_T2I)),
    (Kind.TEXT_ENCODER, _begins(*_TEXT_ENCODER)),
    (Kind.IMAGE_ENCODER, _begins(*_IMAGE_ENCODER)),
    (Kind.TAESD, _looks(_TAESD)),
    (Kind.VAE, _begins(*_VAE)),
    (Kind.UPSCALER, _begins(*_UPSCALER)),
    (Kind.EMBEDDING, _is_embedding),
)


def tell_kind(header: Header) -> Kind | None:
    """Return what kind of model has these tensors; None when they are like those of no kind known here."""
    return next((kind for kind, agrees in _SIGNS if agrees(header)), None)


def refuse_other_kind(path: Path, header: Header, *kinds: Kind, field: str = "") -> None:
    """Raise `BadFile` (about the request's `field`) when the tensors are those of a model of a kind not in `kinds`."""
    found = tell_kind(header)
    if found is not None and found not in kinds:
        wanted, told = KINDS[kinds[0]].words, KINDS[found]
        sentence = f"this is {told.words}, not {wanted}; it belongs into {told.home}"
        raise BadFile(f"{path.name}: {sentence}.", field=field)


def named_weights(folder: Path) -> tuple[Path, ...]:
    """Return the weight files at the top of a diffusers or transformers folder: one, or all shards of one."""
    files = sorted(file for file in folder.iterdir() if file.suffix == ".safetensors" and file.is_file())
    sharded = [file for file in files if re.search(r"-\d{5}-of-\d{5}$", file.stem)]
    plain: Iterable[Path] = (file for file in files if file not in sharded)
    return tuple(sharded) or tuple(list(plain)[:1])
