"""What a model file is, told from its header alone: nothing is executed, no weights are read, torch is not needed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

from webui.domain.models import Family
from webui.errors import BadFile
from webui.weights.headers import CONVERT, MAX_JSON, Header, bad_model, read_header
from webui.weights.shapes import describe_text, describe_unet, describe_vae, part_of_header

COMPONENTS = ("unet", "vae", "text_encoder")

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
        raise bad_model(path, f"it has no {' and no '.join(missing)}", "Choose a complete checkpoint.")
    try:
        configs = {
            "unet": describe_unet(part_of_header(header, _UNET)),
            "vae": describe_vae(part_of_header(header, _VAE)),
            "text_encoder": describe_text(part_of_header(header, text_prefix)),
        }
    except (KeyError, IndexError, ValueError) as error:
        raise bad_model(path, f"not an SD1 checkpoint: {error}") from error
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
            raise bad_model(path, sentence)
    if len(probes) == len(_FOREIGN):
        raise bad_model(path, "not a checkpoint of a known kind")


# -- diffusers folders -------------------------------------------------------------------------------------------------


def _identify_folder(path: Path) -> Checkpoint:
    index = _read_json(path, "model_index.json")
    pipeline = str(index.get("_class_name", ""))
    if pipeline.startswith("StableDiffusionXL"):
        raise bad_model(path, "SDXL checkpoints are not supported yet")
    if pipeline.startswith(("StableDiffusion3", "Flux")):
        raise bad_model(path, f"{pipeline.removesuffix('Pipeline')} checkpoints are not supported yet")
    if pipeline == "StableDiffusionInstructPix2PixPipeline":
        raise bad_model(path, "InstructPix2Pix checkpoints are not supported yet")
    if pipeline not in _PIPELINES:
        raise bad_model(path, f"models of the class {pipeline[:60]!r} are not supported")
    for part, classes in _CLASSES.items():
        entry = index.get(part)
        if not isinstance(entry, list) or len(entry) != 2 or entry[1] not in classes:
            raise bad_model(path, f"its model_index.json names no usable {part}")
    configs = {part: _read_json(path, f"{part}/config.json") for part in COMPONENTS}
    if isinstance(configs["text_encoder"].get("text_config"), dict):
        raise bad_model(path, "its text encoder is a whole CLIP model")
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
        raise bad_model(folder, f"files of its {part} are missing", "Download them again.")
    if not shards and any((folder / part).glob("*.bin")):
        raise bad_model(folder, f"its {part} is a pickle file, which can run code when opened", CONVERT)
    if not shards:
        raise bad_model(folder, f"it has no {part}: {part}/{stem}.safetensors is missing")
    return shards


def _check_tokenizer(folder: Path) -> None:
    tokenizer = folder / "tokenizer"
    if not (tokenizer / "tokenizer.json").is_file() and not (
        (tokenizer / "vocab.json").is_file() and (tokenizer / "merges.txt").is_file()
    ):
        raise bad_model(folder, "it has no tokenizer: tokenizer/vocab.json and merges.txt are missing")


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
        raise bad_model(folder, "its scheduler_config.json is damaged") from error
    usable = 0 < noise.beta_start < noise.beta_end < 1 and 2 <= noise.train_steps <= 100_000
    if (
        not usable
        or noise.beta_schedule not in ("scaled_linear", "linear")
        or noise.prediction not in ("epsilon", "v_prediction")
    ):
        raise bad_model(folder, "its scheduler_config.json describes a noise schedule that is not supported")
    return noise


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    file = folder / name
    if not file.is_file():
        raise bad_model(folder, f"{name} is missing")
    if file.stat().st_size > MAX_JSON:
        raise bad_model(folder, f"{name} is larger than {MAX_JSON >> 20} MB")
    try:
        content = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise bad_model(folder, f"{name} is not valid JSON") from error
    if not isinstance(content, dict):
        raise bad_model(folder, f"{name} is not a JSON object")
    return content


# -- both layouts ------------------------------------------------------------------------------------------------------

_LARGEST = 100_000  # any number in a configuration; the vocabulary is the largest one
_DEEPEST = 100  # layers of a text encoder, blocks of a level, levels


def _check_supported(path: Path, configs: Mapping[str, Mapping[str, Any]]) -> None:
    unet, vae, text = configs["unet"], configs["vae"], configs["text_encoder"]
    for part, config in configs.items():
        _check_size(path, part, config)
    if unet.get("cross_attention_dim") == 1024:
        raise bad_model(path, "SD2 checkpoints are not supported yet")
    if unet.get("in_channels", 4) == 8:
        raise bad_model(path, "InstructPix2Pix checkpoints (8 input channels) are not supported yet")
    channels = unet.get("in_channels", 4), unet.get("out_channels", 4), vae.get("latent_channels", 4)
    if channels[0] not in VARIANTS or channels[1:] != (4, 4):
        raise bad_model(path, "not an SD1 checkpoint: its latents do not have 4 channels")
    if unet.get("cross_attention_dim", 1280) != text.get("hidden_size", 512):
        raise bad_model(path, "its UNet and its text encoder do not fit together")
    levels = vae.get("block_out_channels", (64,))
    if not isinstance(levels, list | tuple) or len(levels) != 4:
        raise bad_model(path, "not an SD1 checkpoint: its VAE does not shrink images 8 times")


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
        raise bad_model(path, f"the configuration of its {part} is not that of a usable network")
