"""What a LoRA file is for, told from the names and shapes of its tensors: the family of checkpoints that it changes.

Layouts: kohya-ss/sd-scripts (`lora_unet_…lora_down`), diffusers and peft (`unet.…lora_A`, `transformer.…`), ai-toolkit,
x-flux (`double_blocks.0.processor.proj_lora1`), OneTrainer (`lora_transformer_…`), ComfyUI (`diffusion_model.…`);
LyCORIS' LoHa, LoKr, OFT, GLoRA, IA³ and full differences in any of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from webui.domain.models import Family, Kind
from webui.errors import BadFile
from webui.weights.catalog.model_facts import ModelFacts
from webui.weights.formats.headers import Header, TensorFacts, read_header
from webui.weights.formats.metadata import THUMBNAIL, read_metadata, told_card, told_details
from webui.weights.recognition.kinds import named_weights, refuse_other_kind

_LEAF = re.compile(
    r"[._](lora_down|lora_up|lora_mid|lora_[AB]|lora_magnitude_vector|lora\d?\.down|lora\d?\.up|hada_[wt]\d\w*|lokr_[wt]\d\w*"
    r"|oft_\w+|dora_scale|alpha|diff_b|diff|w_norm|b_norm|on_input|[ab][12]\.weight)\b"
)
_ROOTS = re.compile(
    r"(base_model\.model\.)?(lora_(unet|transformer|prior_unet)_|lycoris_|unet\.|transformer\.|(model\.)?diffusion_model\.)?"
)
_TEXT = re.compile(r"(base_model\.model\.)?(lora_te(\d?)_|text_encoders?(_\d)?\.|te\d?_|conditioner_)")
_ALGORITHMS = (
    ("DoRA", ("dora_scale", "lora_magnitude_vector")),
    ("LoHa", ("hada_",)),
    ("LoKr", ("lokr_",)),
    ("OFT", ("oft_",)),
    ("GLoRA", ("a1.", "a2.", "b1.", "b2.")),
    ("IA³", ("on_input",)),
    ("LoRA", ("lora",)),
    ("difference", ("diff", "w_norm", "b_norm")),
)
_BASES: Mapping[str, str] = {
    "sd_v1": "sd1", "stable-diffusion-v1": "sd1", "sd_v2": "sd2", "stable-diffusion-v2": "sd2", "sdxl": "sdxl",
    "stable-diffusion-xl": "sdxl", "stable-diffusion-3": "sd3", "sd3": "sd3", "flux2": "flux2", "flux-2": "flux2",
    "flux.2": "flux2", "flux": "flux", "chroma": "chroma", "kolors": "kolors", "lumina": "lumina2",
    "qwen": "qwen_image", "z-image": "z_image", "zimage": "z_image", "sana": "sana", "pixart-alpha": "pixart_alpha",
    "pixart-sigma": "pixart_sigma",
    "hunyuan": "hunyuan_dit", "auraflow": "auraflow", "playground": "playground",
}  # fmt: skip
"""What `ss_base_model_version` and `modelspec.architecture` begin with → the family."""
_SAME_NAMES = {
    ("flux", "chroma"), ("sdxl", "kolors"), ("sdxl", "playground"), ("pixart", "pixart_alpha"),
    ("pixart", "pixart_sigma"), ("pixart", "sana"),
}  # fmt: skip
"""Families whose tensors do not tell them apart: (what they look like, what metadata may say they are)."""
_WORDS: Mapping[str, str] = {
    "sd1": "Stable Diffusion 1", "sd2": "Stable Diffusion 2", "sdxl": "SDXL", "sdxl_refiner": "the SDXL refiner",
    "sd3": "Stable Diffusion 3", "flux": "Flux.1", "flux2": "Flux.2", "chroma": "Chroma", "kolors": "Kolors",
    "lumina2": "Lumina 2", "qwen_image": "Qwen-Image", "z_image": "Z-Image", "sana": "Sana", "pixart": "PixArt",
    "pixart_alpha": "PixArt-α", "pixart_sigma": "PixArt-Σ", "playground": "Playground v2.5",
    "hunyuan_dit": "HunyuanDiT", "auraflow": "AuraFlow",
}  # fmt: skip
_CROSS_WIDTHS: Mapping[int, str] = {768: "sd1", 1024: "sd2", 2048: "sdxl", 1280: "sdxl_refiner"}
_FLUX_WIDTHS: Mapping[int, str] = {3072: "flux", 6144: "flux2", 4096: "flux2"}
_LAYER_WIDTHS: Mapping[int, str] = {2304: "lumina2", 3840: "z_image"}
_FLUX_LAYERS = (
    r"double_blocks_\d+_((img|txt)_(attn_(qkv|proj)|mod_lin)|processor_(qkv|proj))"
    r"|single_blocks_\d+_(linear1|modulation_lin)"
    r"|(single_)?transformer_blocks_\d+_(attn_to_[qkv]|attn_add_[qkv]_proj|norm1?_linear|proj_mlp)"
)
"""Layers that every token goes into as a whole."""
_QWEN_BLOCKS = 19  # Flux.1 has so many double blocks, Qwen-Image has 60 of the same shape
_FLUX2_MLP = 18432  # what comes out of the first layer of a gated network three times as wide as 3072


@dataclass(frozen=True)
class LoraModules:
    """The layers of a network that a LoRA changes: numbers that go in and out, by their name with `_` for every dot.

    0 stands for a number that the shapes do not tell. `texts` are those of text encoders, with the encoder before.
    """

    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    texts: Mapping[str, int]
    rank: int
    algorithm: str


def identify_lora(path: Path) -> ModelFacts:
    """Return what the LoRA at `path` (a file, or a folder of peft's) is for; raise `BadFile` if it is none."""
    file, header = read_any(path, "lora")
    modules = read_modules(header)
    if not modules.inputs and not modules.texts:
        refuse_other_kind(path, header, Kind.LORA, field="lora")
        raise BadFile(f"{path.name}: it holds no LoRA of a known layout.", field="lora")
    metadata = read_metadata(file)
    name = tell_base(modules, metadata)
    details: dict[str, str | int | float] = {"algorithm": modules.algorithm, **told_details(metadata)}
    if modules.rank:
        details["rank"] = modules.rank
    if name:
        details["base"] = _WORDS[name]
    return ModelFacts(
        family=family_named(name),
        parts=_parts(modules),
        weights=() if file == path else (file.relative_to(path).as_posix(),),
        told=told_card(metadata),
        details=details,
        has_thumbnail=THUMBNAIL in metadata,
    )


def read_any(path: Path, field: str) -> tuple[Path, Header]:
    """Return the (first) weight file of a model, which is one file or a folder of some, and the tensors in all."""
    files = named_weights(path) if path.is_dir() else (path,)
    if not files:
        raise BadFile(f"{path.name}: there is no .safetensors file in the folder.", field=field)
    header: dict[str, TensorFacts] = {}
    try:
        for file in files:
            header |= read_header(file)
    except BadFile as error:
        raise BadFile(error.message, hint=error.hint, field=field) from error
    return files[0], header


def family_named(name: str) -> Family | None:
    """Return the family of that name; None for one that Easel cannot run."""
    return next((family for family in Family if family.value == name), None)


def read_modules(header: Header) -> LoraModules:
    """Return which layers a LoRA changes; none if it is not one."""
    inputs: dict[str, int] = {}
    outputs: dict[str, int] = {}
    texts: dict[str, int] = {}
    ranks: list[int] = []
    leaves: set[str] = set()
    for name, facts in header.items():
        match = _LEAF.search(name)
        if match is None:
            continue
        leaf, place = match[1], name[: match.start()]
        leaves.add(leaf)
        text = _TEXT.match(place)
        module = place if text else place[_root_length(place) :].replace(".", "_")
        known, width, rank = (texts if text else inputs), *_going_in(leaf, facts.shape)
        known[module] = max(known.get(module, 0), width)
        if rank:
            ranks.append(rank)
        if not text and (leaf in ("lora_up", "lora_B", "hada_w1_a") or leaf.endswith(".up")) and facts.shape:
            outputs[module] = facts.shape[0]
    algorithm = next((words for words, signs in _ALGORITHMS if any(leaf.startswith(signs) for leaf in leaves)), "")
    return LoraModules(inputs, outputs, texts, max(set(ranks), key=ranks.count) if ranks else 0, algorithm)


def _root_length(place: str) -> int:
    match = _ROOTS.match(place)
    return match.end() if match else 0


def _going_in(leaf: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return how many numbers go into a layer, and the rank, as far as this tensor of its LoRA tells; else 0."""
    if len(shape) < 2:
        return 0, 0
    if leaf in ("lora_down", "lora_A", "hada_w1_b") or leaf.endswith(".down"):
        return shape[1], shape[0]
    if leaf == "diff":
        return shape[1], 0
    if leaf in ("a1.weight", "a2.weight"):  # [inputs, rank] and [rank, inputs], or the other way round in old files
        return max(shape[:2]), min(shape[:2])
    return 0, 0


# -- Families ----------------------------------------------------------------------------------------------------------


def tell_base(modules: LoraModules, metadata: Mapping[str, str]) -> str:
    """Return the name of the family that a LoRA is for, empty if nothing tells it. The tensors know better than the
    metadata, which may have been copied; it decides where tensors look alike."""
    seen = tell_base_of_shapes(modules)
    said = said_base(metadata)
    if not seen or (seen, said) in _SAME_NAMES:
        return said or seen
    return seen


def said_base(metadata: Mapping[str, str]) -> str:
    """Return the name of the family that the metadata says a file is for, empty if they do not."""
    for source in ("modelspec.architecture", "ss_base_model_version"):
        text = metadata.get(source, "").lower()
        found = next((name for beginning, name in _BASES.items() if text.startswith(beginning)), "")
        if found:
            return found
    return ""


def tell_base_of_shapes(modules: LoraModules) -> str:
    """Return the name of the family whose network has these layers."""
    names = modules.inputs
    if not names:
        return _tell_by_texts(modules.texts)
    if _any(names, r"(down_blocks|input_blocks|mid_block|middle_block|output_blocks|up_blocks)_"):
        return _tell_unet(modules)
    if _any(names, r"joint_blocks_"):
        return "sd3"
    if _any(names, r"(joint_transformer_blocks|double_layers)_"):
        return "auraflow"
    if _any(names, r"(double_blocks|single_blocks|single_transformer_blocks)_"):
        return _tell_flux(modules)
    if _any(names, r"transformer_blocks_"):
        return _tell_transformer(modules)
    if _any(names, r"(layers|noise_refiner|context_refiner)_"):
        return _LAYER_WIDTHS.get(_width(names, r"layers_\d+_(self_attn|attention)_(to_)?[qkv]"), "")
    if _any(names, r"blocks_\d+_attn2_"):
        return "hunyuan_dit"
    return ""


def _tell_unet(modules: LoraModules) -> str:
    names = modules.inputs
    cross = _width(names, r".*attn2_(processor_)?to_[kv]")
    if cross:
        return _CROSS_WIDTHS.get(cross, "")
    if _any(names, r".*_transformer_blocks_[1-9]"):
        return "sdxl"
    by_texts = _tell_by_texts(modules.texts)
    if by_texts or not _any(names, r"(down_blocks_0|input_blocks_1_1)_(attentions|transformer|proj)"):
        return by_texts
    return "sd1"


def _tell_by_texts(texts: Mapping[str, int]) -> str:
    encoders = {match[2] for name in texts if (match := _TEXT.match(name))}
    if any(encoder.startswith(("lora_te2", "text_encoder_2", "te2", "conditioner")) for encoder in encoders):
        return "sdxl"
    return {768: "sd1", 1024: "sd2"}.get(_width(texts, r".*self_attn_?\.?(q_proj|to_q)"), "")


def _tell_flux(modules: LoraModules) -> str:
    names = modules.inputs
    if _any(names, r".*(to_qkv_mlp_proj|individual_token_refiner)"):
        return "flux2" if _any(names, r".*to_qkv_mlp_proj") else ""
    if any(width == _FLUX2_MLP for name, width in modules.outputs.items() if re.match(r".*_(img|txt)_mlp_0$", name)):
        return "flux2"
    width = _width(names, _FLUX_LAYERS)
    return _FLUX_WIDTHS.get(width, "") if width else "flux"


def _tell_transformer(modules: LoraModules) -> str:
    names = modules.inputs
    blocks = {match[1] for name in names if (match := re.match(r"transformer_blocks_(\d+)_", name))}
    if _any(names, r".*_(img|txt)_(mlp|mod)_"):
        return "qwen_image"
    width = _width(names, r"transformer_blocks_\d+_(attn|attn1)_to_[qkv]")
    if _any(names, r".*(add_[qkv]_proj|to_add_out|ff_context)"):
        if width == 3072:
            return "qwen_image" if max(int(block) for block in blocks) >= _QWEN_BLOCKS else "flux"
        return "sd3"
    if _any(names, r".*_attn2_"):
        return {1152: "pixart", 2240: "sana"}.get(width, "")
    return {1536: "sd3", 2432: "sd3", 3072: "flux"}.get(width, "")


def _any(names: Mapping[str, int], pattern: str) -> bool:
    compiled = re.compile(pattern)
    return any(compiled.match(name) for name in names)


def _width(names: Mapping[str, int], pattern: str) -> int:
    """Return how many numbers go into the first layer of that name whose shapes tell it."""
    compiled = re.compile(pattern)
    return next((width for name, width in names.items() if width and compiled.match(name)), 0)


def _parts(modules: LoraModules) -> tuple[str, ...]:
    return (*(["denoiser"] if modules.inputs else []), *(["text_encoder"] if modules.texts else []))
