"""What a model file is, told from its header alone: nothing is executed, no weights are read, torch is not needed."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

from webui.domain.models import Family
from webui.errors import BadFile

MAX_HEADER = 16 * 2**20  # bytes
MAX_TENSORS = 50_000
MAX_JSON = 4 * 2**20  # bytes of a configuration file
PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
COMPONENTS = ("unet", "vae", "text_encoder")

_ITEM_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip

_UNET = "model.diffusion_model."
_VAE = "first_stage_model."
_TEXT_PREFIXES = ("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.")

# The first that matches names the file. They are looked for only once the file is known not to be an SD1 checkpoint.
_FOREIGN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("SDXL checkpoints are not supported yet", ("conditioner.embedders.", "model.diffusion_model.label_emb.")),
    ("SD2 checkpoints are not supported yet", ("cond_stage_model.model.",)),
    ("SD3 checkpoints are not supported yet", ("joint_blocks.", "model.diffusion_model.joint_blocks.")),
    ("Flux checkpoints are not supported yet", ("double_blocks.", "model.diffusion_model.double_blocks.")),
    ("this is a LoRA, not a checkpoint; it belongs into models/Lora", ("lora_unet_", "lora_te", "lora_transformer_")),
    ("this is a ControlNet, not a checkpoint; it belongs into models/ControlNet", ("control_model.", "controlnet_")),
    ("this is a textual inversion, not a checkpoint; it belongs into embeddings", ("emb_params", "string_to_param")),
    ("this is a text encoder, not a checkpoint", ("text_model.", "encoder.block.")),
    ("this is a VAE, not a checkpoint; it belongs into models/VAE", ("encoder.conv_in.", "decoder.conv_in.")),
    ("this is a UNet without VAE and text encoder", ("input_blocks.", "down_blocks.")),
)

_CLASSES = {
    "unet": {"UNet2DConditionModel"},
    "vae": {"AutoencoderKL"},
    "text_encoder": {"CLIPTextModel"},
    "tokenizer": {"CLIPTokenizer", "CLIPTokenizerFast"},
}
_PIPELINES = {"StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"}

VARIANTS: Mapping[int, str] = MappingProxyType({4: "", 9: "inpainting"})
"""Input channels of an SD1 network → what it is called: 4 of noisy latents, 1 of a mask, 4 of a picture's latents."""


@dataclass(frozen=True)
class TensorFacts:
    """One entry of a safetensors header."""

    dtype: str
    shape: tuple[int, ...]


Header = Mapping[str, TensorFacts]


@dataclass(frozen=True)
class NoiseSchedule:
    """How the model was trained to see noise: diffusers' names and meanings."""

    train_steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = "scaled_linear"  # or "linear"
    prediction: str = "epsilon"  # or "v_prediction"


@dataclass(frozen=True)
class Checkpoint:
    """What is needed to build a checkpoint's networks: diffusers' and transformers' configurations by component."""

    path: Path
    family: Family
    layout: str  # "diffusers" or "original"
    configs: Mapping[str, Mapping[str, Any]]  # by the names in COMPONENTS
    files: Mapping[str, tuple[Path, ...]]  # weight files by component; all the same one in the original layout
    noise: NoiseSchedule = field(default_factory=NoiseSchedule)

    @property
    def variant(self) -> str:
        """What the network sees besides noisy latents: "" nothing, "inpainting" a mask and a picture's latents."""
        return VARIANTS[self.configs["unet"].get("in_channels", 4)]

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """Every weight file once, sorted."""
        return tuple(sorted({file for files in self.files.values() for file in files}))


def identify(path: Path) -> Checkpoint:
    """Return what the checkpoint at `path` (a file or a diffusers folder) is made of.

    Raises `BadFile` with one sentence on what is wrong: damaged, foreign, dangerous, or of a kind not supported.
    """
    try:
        return _identify_folder(path) if path.is_dir() else _identify_file(path)
    except OSError as error:
        raise BadFile(f"{path.name} cannot be read: {error.strerror or error}.", field="model") from error


# -- safetensors -------------------------------------------------------------------------------------------------------


def read_header(path: Path) -> Header:
    """Return the tensors that a safetensors file declares, after checking that it can hold them.

    Raises `BadFile`: a pickle, not a safetensors file (saying what it is), truncated, or offsets that overlap or leave
    gaps.
    """
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise _bad(path, f"{path.suffix.lower()} files can run code when opened and are not loaded", _CONVERT)
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise _bad(path, "not a regular file")
    with path.open("rb") as file:
        start = file.read(512)
        _refuse_foreign(path, start)
        length = int.from_bytes(start[:8], "little")
        if length > MAX_HEADER:
            raise _bad(path, f"not a safetensors file: its header would be {length} bytes long")
        if 8 + length > facts.st_size:
            raise _bad(path, f"truncated: its header needs {8 + length} bytes, the file has {facts.st_size}")
        file.seek(8)
        raw = file.read(length)
    return _check_header(path, _parse_header(path, raw), facts.st_size - 8 - length)


def _refuse_foreign(path: Path, start: bytes) -> None:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        raise _bad(path, "the file is empty", "Download it again.")
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x80")) or b"ustar" in start[257:265]:
        raise _bad(path, "a pickle file, which can run code when opened", _CONVERT)
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        raise _bad(
            path, "not a safetensors file: it begins with HTML", "The download was a web page; download it again."
        )
    if text.startswith(b"version https://git-lfs"):
        raise _bad(path, "a Git LFS pointer, not the model itself", "Fetch it with `git lfs pull`.")
    if start.startswith(b"GGUF"):
        raise _bad(path, "GGUF checkpoints are not supported yet")
    if len(start) < 8:
        raise _bad(path, f"truncated: the file has {len(start)} bytes", "Download it again.")


def _parse_header(path: Path, raw: bytes) -> dict[str, Any]:
    # A hostile header can be all brackets: counting them first keeps the parsed objects small.
    if max(raw.count(b"{") - 2, raw.count(b"[") // 2) > MAX_TENSORS or raw.count(b",") > 16 * MAX_TENSORS:
        raise _bad(path, f"its header lists more than {MAX_TENSORS} tensors")
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _bad(path, "not a safetensors file: its header is not valid JSON") from error
    if not isinstance(header, dict):
        raise _bad(path, "not a safetensors file: its header is not a JSON object")
    header.pop("__metadata__", None)
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a name occurs twice")
    return unique


def _check_header(path: Path, header: dict[str, Any], available: int) -> Header:
    tensors: dict[str, TensorFacts] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in header.items():
        try:
            dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
            whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
            fits = whole and prod(shape) * _ITEM_SIZES[dtype] == end - begin
        except (KeyError, TypeError, ValueError) as error:
            raise _bad(path, f"its header is damaged at {name[:80]!r}") from error
        if not fits:
            raise _bad(path, f"its header is damaged at {name[:80]!r}: shape and size disagree")
        tensors[name] = TensorFacts(dtype, shape)
        spans.append((begin, end))
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise _bad(path, "its header is damaged: tensors overlap or leave gaps")
        position = end
    if position > available:
        raise _bad(path, f"truncated: {position - available} of {position} bytes are missing", "Download it again.")
    if position < available:
        raise _bad(path, f"its header is damaged: {available - position} bytes belong to no tensor")
    return tensors


def count_parameters(checkpoint: Checkpoint, component: str) -> int:
    """Return how many numbers the weights of one component hold."""
    prefixes = {"unet": _UNET, "vae": _VAE, "text_encoder": "cond_stage_model."}
    prefix = prefixes[component] if checkpoint.layout == "original" else ""
    headers = [read_header(file) for file in checkpoint.files[component]]
    return sum(prod(facts.shape) for header in headers for name, facts in header.items() if name.startswith(prefix))


# -- the original single-file layout -----------------------------------------------------------------------------------


def _identify_file(path: Path) -> Checkpoint:
    header = read_header(path)
    _refuse_other_models(path, header)
    text_prefix = find_text_prefix(header)
    missing = [
        name
        for name, present in (
            ("UNet", f"{_UNET}input_blocks.0.0.weight" in header),
            ("VAE", f"{_VAE}decoder.conv_in.weight" in header),
            ("text encoder", text_prefix is not None),
        )
        if not present
    ]
    if text_prefix is None or missing:
        raise _bad(path, f"it has no {' and no '.join(missing)}", "Choose a complete checkpoint.")
    try:
        configs = {
            "unet": _unet_config(part_of_header(header, _UNET)),
            "vae": describe_vae(part_of_header(header, _VAE)),
            "text_encoder": _text_config(part_of_header(header, text_prefix)),
        }
    except (KeyError, IndexError, ValueError) as error:
        raise _bad(path, f"not an SD1 checkpoint: {error}") from error
    noise = NoiseSchedule(prediction="v_prediction" if "v_pred" in header else "epsilon")
    _check_supported(path, configs)
    return Checkpoint(path, Family.SD1, "original", configs, dict.fromkeys(COMPONENTS, (path,)), noise)


def find_text_prefix(names: Iterable[str]) -> str | None:
    """Return what the text encoder's keys begin with in the original layout (some early files lack `text_model.`)."""
    for prefix in _TEXT_PREFIXES:
        if f"{prefix}embeddings.token_embedding.weight" in names:
            return prefix
    return None


def _refuse_other_models(path: Path, header: Header) -> None:
    if any(name.startswith(_UNET) for name in header):
        probes = _FOREIGN[:4]
    elif any(name.startswith((_VAE, "cond_stage_model.")) for name in header):
        return
    else:
        probes = _FOREIGN
    for sentence, prefixes in probes:
        if any(name.startswith(prefixes) for name in header):
            raise _bad(path, sentence)
    if len(probes) == len(_FOREIGN):
        raise _bad(path, "not a checkpoint of a known kind")


def part_of_header(header: Header, prefix: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors whose names begin with `prefix`, by the rest of the name."""
    return {name[len(prefix) :]: facts.shape for name, facts in header.items() if name.startswith(prefix)}


def norm_groups(channels: int) -> int:
    """Return the group count of a network whose first level has `channels`.

    Shapes do not tell it. Real SD1 files have 32 groups on 320 (UNet) and 128 (VAE) channels; narrow models follow the
    same rule of at least four channels a group.
    """
    return min(32, channels // 4)


def _unet_config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    channels: list[int] = []
    attention: list[bool] = []
    layers: list[int] = []
    first, in_channels = shapes["input_blocks.0.0.weight"][:2]
    new_level = True
    for index in range(1, _count(shapes, r"input_blocks\.(\d+)\.")):
        if f"input_blocks.{index}.0.op.weight" in shapes:
            new_level = True
            continue
        if new_level:
            channels.append(shapes[f"input_blocks.{index}.0.out_layers.3.weight"][0])
            attention.append(f"input_blocks.{index}.1.proj_in.weight" in shapes)
            layers.append(0)
            new_level = False
        layers[-1] += 1
    if len(set(layers)) != 1:
        raise ValueError("the levels of its UNet differ in depth")
    projection = shapes["middle_block.1.proj_in.weight"]
    return {
        "in_channels": in_channels,
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": tuple(channels),
        "layers_per_block": layers[0],
        "down_block_types": tuple("CrossAttnDownBlock2D" if has else "DownBlock2D" for has in attention),
        "up_block_types": tuple("CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(attention)),
        "cross_attention_dim": shapes["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][1],
        "attention_head_dim": 8,  # diffusers' historical name for the number of heads
        "norm_num_groups": norm_groups(first),
        "use_linear_projection": len(projection) == 2,
    }


def describe_vae(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return diffusers' configuration of a VAE from its shapes in the original layout.

    Raises `KeyError`, `IndexError` or `ValueError` when there is no such VAE.
    """
    levels = _count(shapes, r"encoder\.down\.(\d+)\.")
    channels = tuple(shapes[f"encoder.down.{level}.block.0.conv1.weight"][0] for level in range(levels))
    return {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": channels,
        "layers_per_block": _count(shapes, r"encoder\.down\.0\.block\.(\d+)\."),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "norm_num_groups": norm_groups(channels[0]),
        "scaling_factor": 0.18215,
    }


def _text_config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    vocabulary, width = shapes["embeddings.token_embedding.weight"]
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shapes["encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": _count(shapes, r"encoder\.layers\.(\d+)\."),
        "num_attention_heads": max(1, width // 64),
        "max_position_embeddings": shapes["embeddings.position_embedding.weight"][0],
        "projection_dim": width,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    }


def _count(shapes: Iterable[str], pattern: str) -> int:
    """Return one more than the largest number that `pattern` captures at the start of a name."""
    return 1 + max((int(match[1]) for name in shapes if (match := re.match(pattern, name))), default=-1)


# -- diffusers folders -------------------------------------------------------------------------------------------------


def _identify_folder(path: Path) -> Checkpoint:
    index = _read_json(path, "model_index.json")
    pipeline = str(index.get("_class_name", ""))
    if pipeline.startswith("StableDiffusionXL"):
        raise _bad(path, "SDXL checkpoints are not supported yet")
    if pipeline.startswith(("StableDiffusion3", "Flux")):
        raise _bad(path, f"{pipeline.removesuffix('Pipeline')} checkpoints are not supported yet")
    if pipeline == "StableDiffusionInstructPix2PixPipeline":
        raise _bad(path, "InstructPix2Pix checkpoints are not supported yet")
    if pipeline not in _PIPELINES:
        raise _bad(path, f"models of the class {pipeline[:60]!r} are not supported")
    for part, classes in _CLASSES.items():
        entry = index.get(part)
        if not isinstance(entry, list) or len(entry) != 2 or entry[1] not in classes:
            raise _bad(path, f"its model_index.json names no usable {part}")
    configs = {part: _read_json(path, f"{part}/config.json") for part in COMPONENTS}
    if isinstance(configs["text_encoder"].get("text_config"), dict):
        raise _bad(path, "its text encoder is a whole CLIP model")
    files = {part: _component_files(path, part) for part in COMPONENTS}
    for component in files.values():
        for file in component:
            read_header(file)
    _check_tokenizer(path)
    _check_supported(path, configs)
    return Checkpoint(path, Family.SD1, "diffusers", configs, files, _read_noise_schedule(path))


def _component_files(folder: Path, part: str) -> tuple[Path, ...]:
    """Return the weight files of one component: the full-precision one first, else a variant, else its shards."""
    stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
    for name in (f"{stem}.safetensors", f"{stem}.fp16.safetensors", f"{stem}.non_ema.safetensors"):
        if (folder / part / name).is_file():
            return (folder / part / name,)
    shards = tuple(sorted((folder / part).glob(f"{stem}-*-of-*.safetensors")))
    promised = {shard.stem.rpartition("-")[2] for shard in shards}
    if shards and promised != {f"{len(shards):05d}"}:
        raise _bad(folder, f"files of its {part} are missing", "Download them again.")
    if not shards and any((folder / part).glob("*.bin")):
        raise _bad(folder, f"its {part} is a pickle file, which can run code when opened", _CONVERT)
    if not shards:
        raise _bad(folder, f"it has no {part}: {part}/{stem}.safetensors is missing")
    return shards


def _check_tokenizer(folder: Path) -> None:
    tokenizer = folder / "tokenizer"
    if not (tokenizer / "tokenizer.json").is_file() and not (
        (tokenizer / "vocab.json").is_file() and (tokenizer / "merges.txt").is_file()
    ):
        raise _bad(folder, "it has no tokenizer: tokenizer/vocab.json and merges.txt are missing")


def _read_noise_schedule(folder: Path) -> NoiseSchedule:
    config = _read_json(folder, "scheduler/scheduler_config.json")
    standard = NoiseSchedule()
    try:
        noise = NoiseSchedule(
            train_steps=int(config.get("num_train_timesteps", standard.train_steps)),
            beta_start=float(config.get("beta_start", standard.beta_start)),
            beta_end=float(config.get("beta_end", standard.beta_end)),
            beta_schedule=str(config.get("beta_schedule", standard.beta_schedule)),
            prediction=str(config.get("prediction_type", standard.prediction)),
        )
    except (TypeError, ValueError) as error:
        raise _bad(folder, "its scheduler_config.json is damaged") from error
    usable = 0 < noise.beta_start < noise.beta_end < 1 and 2 <= noise.train_steps <= 100_000
    if (
        not usable
        or noise.beta_schedule not in ("scaled_linear", "linear")
        or noise.prediction not in ("epsilon", "v_prediction")
    ):
        raise _bad(folder, "its scheduler_config.json describes a noise schedule that is not supported")
    return noise


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    file = folder / name
    if not file.is_file():
        raise _bad(folder, f"{name} is missing")
    if file.stat().st_size > MAX_JSON:
        raise _bad(folder, f"{name} is larger than {MAX_JSON >> 20} MB")
    try:
        content = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _bad(folder, f"{name} is not valid JSON") from error
    if not isinstance(content, dict):
        raise _bad(folder, f"{name} is not a JSON object")
    return content


# -- both layouts ------------------------------------------------------------------------------------------------------

_CONVERT = "Convert it to .safetensors; models/README.md says how."


_LARGEST = 100_000  # any number in a configuration; the vocabulary is the largest one
_DEEPEST = 100  # layers of a text encoder, blocks of a level, levels


def _check_supported(path: Path, configs: Mapping[str, Mapping[str, Any]]) -> None:
    unet, vae, text = configs["unet"], configs["vae"], configs["text_encoder"]
    for part, config in configs.items():
        _check_size(path, part, config)
    if unet.get("cross_attention_dim") == 1024:
        raise _bad(path, "SD2 checkpoints are not supported yet")
    if unet.get("in_channels", 4) == 8:
        raise _bad(path, "InstructPix2Pix checkpoints (8 input channels) are not supported yet")
    channels = unet.get("in_channels", 4), unet.get("out_channels", 4), vae.get("latent_channels", 4)
    if channels[0] not in VARIANTS or channels[1:] != (4, 4):
        raise _bad(path, "not an SD1 checkpoint: its latents do not have 4 channels")
    if unet.get("cross_attention_dim", 1280) != text.get("hidden_size", 512):
        raise _bad(path, "its UNet and its text encoder do not fit together")
    levels = vae.get("block_out_channels", (64,))
    if not isinstance(levels, list | tuple) or len(levels) != 4:
        raise _bad(path, "not an SD1 checkpoint: its VAE does not shrink images 8 times")


def _check_size(path: Path, part: str, config: Mapping[str, Any]) -> None:
    """Refuse a configuration that would keep the machine busy building an absurd network."""
    numbers = [value for value in config.values() if isinstance(value, int | float)]
    depths = [config.get(name, 1) for name in ("layers_per_block", "num_hidden_layers", "transformer_layers_per_block")]
    levels = config.get("block_out_channels", ())
    if (
        any(abs(number) > _LARGEST for number in numbers)
        or not all(isinstance(depth, int) and 0 < depth <= _DEEPEST for depth in depths)
        or not isinstance(levels, list | tuple)
        or len(levels) > _DEEPEST
        or not all(isinstance(width, int) and 0 < width <= _LARGEST for width in levels)
    ):
        raise _bad(path, f"the configuration of its {part} is not that of a usable network")


def _bad(path: Path, problem: str, hint: str = "") -> BadFile:
    return BadFile(f"{path.name}: {problem}.", hint=hint, field="model")
