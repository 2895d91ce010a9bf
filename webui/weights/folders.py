"""What a diffusers folder is, told from its configuration files and the headers of its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from webui.domain.models import Family
from webui.weights.checkpoint import Checkpoint, FlowSchedule, NoiseSchedule, is_text_encoder
from webui.weights.headers import CONVERT, MAX_JSON, bad_model, read_header
from webui.weights.supported import check_supported

_TOKENIZERS = {"CLIPTokenizer", "CLIPTokenizerFast"}
_SD1 = {
    "unet": {"UNet2DConditionModel"},
    "vae": {"AutoencoderKL"},
    "text_encoder": {"CLIPTextModel"},
    "tokenizer": _TOKENIZERS,
}
_CLASSES: Mapping[Family, Mapping[str, set[str]]] = {
    Family.SD1: _SD1,
    Family.SDXL: {**_SD1, "text_encoder_2": {"CLIPTextModelWithProjection"}, "tokenizer_2": _TOKENIZERS},
    Family.FLUX: {
        "transformer": {"FluxTransformer2DModel"},
        "vae": {"AutoencoderKL"},
        "text_encoder": {"CLIPTextModel"},
        "tokenizer": _TOKENIZERS,
        "text_encoder_2": {"T5EncoderModel"},
        "tokenizer_2": {"T5Tokenizer", "T5TokenizerFast"},
    },
}
_PIPELINES = {
    "StableDiffusionPipeline": Family.SD1,
    "StableDiffusionImg2ImgPipeline": Family.SD1,
    "StableDiffusionInpaintPipeline": Family.SD1,
    "StableDiffusionXLPipeline": Family.SDXL,
    "StableDiffusionXLImg2ImgPipeline": Family.SDXL,
    "StableDiffusionXLInpaintPipeline": Family.SDXL,
    "FluxPipeline": Family.FLUX,
    "FluxImg2ImgPipeline": Family.FLUX,
    "FluxInpaintPipeline": Family.FLUX,
}


def identify_folder(path: Path) -> Checkpoint:
    """Return what a diffusers folder is made of; raise `BadFile` with one sentence on what is wrong with it."""
    index = _read_json(path, "model_index.json")
    family = _find_family(path, index)
    for part, classes in _CLASSES[family].items():
        entry = index.get(part)
        if not isinstance(entry, list) or len(entry) != 2 or entry[1] not in classes:
            raise bad_model(path, f"its model_index.json names no usable {part}")
    components = [part for part in _CLASSES[family] if not part.startswith("tokenizer")]
    configs = {part: _read_json(path, f"{part}/config.json") for part in components}
    for part in filter(is_text_encoder, components):
        if isinstance(configs[part].get("text_config"), dict):
            raise bad_model(path, f"its {part} is a whole CLIP model")
        tokenizer = part.replace("text_encoder", "tokenizer")
        if index[tokenizer][1] in _TOKENIZERS:
            _check_tokenizer(path, tokenizer)
        else:
            _check_piece_tokenizer(path, tokenizer)
    files = {part: _component_files(path, part) for part in components}
    for component in files.values():
        for file in component:
            read_header(file)
    check_supported(path, family, configs)
    return Checkpoint(
        path,
        family,
        "diffusers",
        configs,
        files,
        noise=_read_flow_schedule(path) if family.is_flow else _read_noise_schedule(path),
        zero_negative=family is Family.SDXL and index.get("force_zeros_for_empty_prompt", True) is True,
    )


def _find_family(path: Path, index: Mapping[str, Any]) -> Family:
    pipeline = str(index.get("_class_name", ""))
    if pipeline not in _PIPELINES and pipeline.startswith(("StableDiffusion3", "Flux")):
        raise bad_model(path, f"{pipeline.removesuffix('Pipeline')} checkpoints are not supported yet")
    if pipeline == "StableDiffusionInstructPix2PixPipeline":
        raise bad_model(path, "InstructPix2Pix checkpoints are not supported yet")
    if pipeline not in _PIPELINES:
        raise bad_model(path, f"models of the class {pipeline[:60]!r} are not supported")
    if pipeline.startswith("StableDiffusionXL") and index.get("requires_aesthetics_score") is True:
        raise bad_model(path, "SDXL refiner checkpoints are not supported yet")
    return _PIPELINES[pipeline]


def _component_files(folder: Path, part: str) -> tuple[Path, ...]:
    """Return the weight files of one component: the full-precision one first, else a variant, else its shards."""
    stem = "model" if is_text_encoder(part) else "diffusion_pytorch_model"
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


def _check_tokenizer(folder: Path, part: str) -> None:
    tokenizer = folder / part
    if not (tokenizer / "tokenizer.json").is_file() and not (
        (tokenizer / "vocab.json").is_file() and (tokenizer / "merges.txt").is_file()
    ):
        raise bad_model(folder, f"it has no {part}: {part}/vocab.json and merges.txt are missing")


def _check_piece_tokenizer(folder: Path, part: str) -> None:
    if not (folder / part / "tokenizer.json").is_file():
        raise bad_model(
            folder,
            f"it has no {part}: {part}/tokenizer.json is missing",
            "A spiece.model alone is not read; the model's own repository has both.",
        )


def _read_flow_schedule(folder: Path) -> FlowSchedule:
    config = _read_json(folder, "scheduler/scheduler_config.json")
    standard = FlowSchedule()
    if config.get("_class_name", "FlowMatchEulerDiscreteScheduler") != "FlowMatchEulerDiscreteScheduler":
        raise bad_model(folder, "its scheduler_config.json describes a noise schedule that is not supported")
    try:
        flow = FlowSchedule(
            train_steps=int(config.get("num_train_timesteps", standard.train_steps)),
            shift=float(config.get("shift", standard.shift)),
            dynamic=config.get("use_dynamic_shifting", standard.dynamic) is True,
            base_shift=float(config.get("base_shift", standard.base_shift)),
            max_shift=float(config.get("max_shift", standard.max_shift)),
            base_tokens=int(config.get("base_image_seq_len", standard.base_tokens)),
            max_tokens=int(config.get("max_image_seq_len", standard.max_tokens)),
        )
    except (TypeError, ValueError) as error:
        raise bad_model(folder, "its scheduler_config.json is damaged") from error
    usable = flow.train_steps == 1000 and 0 < flow.shift <= 100 and 0 < flow.base_tokens < flow.max_tokens
    bounded = 0 <= flow.base_shift <= flow.max_shift <= 10
    unusual = (
        config.get("shift_terminal"), config.get("invert_sigmas"), config.get("use_karras_sigmas"),
        config.get("use_exponential_sigmas"), config.get("use_beta_sigmas"), config.get("stochastic_sampling"),
        config.get("time_shift_type", "exponential") != "exponential",
    )  # fmt: skip
    if not (usable and bounded) or any(unusual):
        raise bad_model(folder, "its scheduler_config.json describes a noise schedule that is not supported")
    return flow


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
            zero_terminal=config.get("rescale_betas_zero_snr") is True,
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
