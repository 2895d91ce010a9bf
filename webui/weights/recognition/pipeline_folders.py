"""What a diffusers folder of no family of ours is: one that diffusers' own pipeline runs, as far as it is safe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from webui.domain.models import Family, ModelDefaults
from webui.domain.pipelines import PipelineInfo
from webui.weights.checkpoint import Checkpoint, Part
from webui.weights.formats.headers import bad_model, read_header

NOT_NEEDED = frozenset({"safety_checker", "watermarker", "feature_extractor"})
"""Parts that draw nothing: they judge or mark finished pictures."""

_LIBRARIES = frozenset(
    {
        "diffusers", "transformers", "stable_diffusion", "deepfloyd_if", "kandinsky", "latent_diffusion",
        "stable_cascade", "unclip", "unidiffuser", "vq_diffusion", "wuerstchen", "prx", "ideogram4",
    }
)  # fmt: skip
"""Who may be named for a part: the two libraries, and the packages of diffusers' pipelines that have classes of their
own. A name of anything else would be imported, and importing runs code."""
_CLASS = re.compile(r"[A-Z][A-Za-z0-9]*")
_PART = re.compile(r"[a-z][a-z0-9_]*")
_WEIGHTS = re.compile(
    r"(diffusion_pytorch_)?model(\.(?P<before>\w+))?(-\d{5}-of-(?P<count>\d{5}))?(\.(?P<after>\w+))?\.safetensors"
)
_VARIANTS = ("", "fp16", "bf16")  # the best first

Json = Mapping[str, Any]
ReadJson = Callable[[str], Json]
_CONVERT = "Convert it to safetensors first."


def identify_pipeline(path: Path, index: Json, info: PipelineInfo, read: ReadJson) -> Checkpoint:
    """Return what a folder is made of whose pipeline is `info`; `read` reads a configuration in it.

    Raises `BadFile` for one that names code of others, or has weights only as pickles.
    """
    networks = dict(_networks(path, index))
    parts = {name: part for name in networks if (part := _read_part(path, name, networks[name], read)) is not None}
    if not parts:
        raise bad_model(path, "it has no weights")
    return Checkpoint(path, Family.OTHER, "diffusers", parts, defaults=_defaults(info, parts), index=dict(index))


def entries(index: Json) -> Iterator[tuple[str, str, str]]:
    """Yield each part that a model_index.json names and that draws something: its name, library and class."""
    for name, entry in index.items():
        if not isinstance(entry, list) or name.startswith("_") or name in NOT_NEEDED or entry == [None, None]:
            continue
        if len(entry) == 2 and all(isinstance(word, str) for word in entry):
            yield name, entry[0], entry[1]


def weight_variant(files: tuple[Path, ...]) -> str | None:
    """Return the variant that weight files are of, as diffusers wants it: None for the usual one."""
    match = _WEIGHTS.fullmatch(files[0].name)
    assert match is not None
    return match["before"] or match["after"]


def _networks(path: Path, index: Json) -> Iterator[tuple[str, str]]:
    """Yield the parts that have a folder, with their classes; raise `BadFile` for one that may not be named."""
    for name, library, network in entries(index):
        if library not in _LIBRARIES or not _CLASS.fullmatch(network):
            raise bad_model(
                path, f"its model_index.json names {library[:60]}.{network[:60]} for its {name[:60]}, which is no part"
            )
        if not _PART.fullmatch(name):
            raise bad_model(path, f"its model_index.json names a part {name[:60]!r}")
        if not (path / name).is_dir():
            raise bad_model(path, f"it has no {name}", "Download it again, with all of its folders.")
        yield name, network


def _read_part(path: Path, name: str, network: str, read: ReadJson) -> Part | None:
    """Return a part that has weights, None for a tokenizer, a scheduler and their like."""
    if not (path / name / "config.json").is_file() or network.endswith(("Scheduler", "Tokenizer", "TokenizerFast")):
        return None
    files = _find_weights(path, name)
    for file in files:
        read_header(file)
    return Part(network, read(f"{name}/config.json"), files)


def _find_weights(path: Path, name: str) -> tuple[Path, ...]:
    sets: dict[tuple[int, str, int], list[Path]] = {}
    for file in sorted((path / name).iterdir()):
        match = _WEIGHTS.fullmatch(file.name)
        variant = (match["before"] or match["after"] or "") if match else ""
        if match and variant in _VARIANTS:
            sets.setdefault((_VARIANTS.index(variant), variant, int(match["count"] or 1)), []).append(file)
    complete = [key for key, files in sets.items() if len(files) == key[2]]
    if complete:
        return tuple(sets[min(complete)])
    if sets:
        raise bad_model(path, f"files of its {name} are missing", "Download them again.")
    if any((path / name).glob("*.bin")):
        raise bad_model(path, f"its {name} is a pickle file, which can run code when opened", _CONVERT)
    raise bad_model(path, f"it has no {name}: there are no .safetensors in {name}")


def _defaults(info: PipelineInfo, parts: Mapping[str, Part]) -> ModelDefaults:
    """Return what the model proposes: its own size, where it draws in no other."""
    if info.sized or info.defaults.width is not None:
        return info.defaults
    denoiser = parts.get("unet") or parts.get("transformer")
    side = denoiser.config.get("sample_size") if denoiser else None
    if not isinstance(side, int) or not 0 < side <= 4096:
        return info.defaults
    levels = parts["vae"].config.get("block_out_channels", (64,) * 4) if "vae" in parts else (64,)
    side *= 2 ** (len(levels) - 1)
    return info.defaults.replace(width=side, height=side)
