"""Where models lie: A1111's folders below ours, folders named by flags, and those of other programs, used in place."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import Self

from webui.config import Config
from webui.domain.models import Kind
from webui.errors import BadFile

log = logging.getLogger(__name__)

_MAX_FILE = 2**20  # bytes
_MOST_FOLDERS = 1000

BELOW_MODELS: Mapping[Kind, tuple[str, ...]] = {
    Kind.CHECKPOINT: ("Stable-diffusion",),
    Kind.VAE: ("VAE",),
    Kind.TAESD: ("VAE-approx", "VAE-taesd", "vae_approx"),
    Kind.LORA: ("Lora", "LyCORIS"),
    Kind.CONTROLNET: ("ControlNet",),
    Kind.EMBEDDING: ("embeddings",),
    Kind.HYPERNETWORK: ("hypernetworks",),
    Kind.TEXT_ENCODER: ("text_encoder", "clip", "clip_vision"),
    Kind.DETECTOR: ("adetailer",),
    Kind.UPSCALER: (
        "ESRGAN", "RealESRGAN", "BSRGAN", "SwinIR", "Swin2SR", "ScuNET", "DAT", "HAT", "upscale_models",
    ),
}  # fmt: skip
"""The names of folders below a models folder, as A1111, Forge and (the last ones) ComfyUI have them."""

_BESIDE_MODELS: Mapping[Kind, tuple[str, ...]] = {
    Kind.EMBEDDING: ("embeddings",),
    Kind.CONTROLNET: ("extensions/sd-webui-controlnet/models",),
}
"""Folders of A1111 and Forge that lie beside the models folder."""

_COMFY: Mapping[str, Kind] = {
    "checkpoints": Kind.CHECKPOINT, "diffusers": Kind.CHECKPOINT, "diffusion_models": Kind.CHECKPOINT,
    "unet": Kind.CHECKPOINT, "vae": Kind.VAE, "vae_approx": Kind.TAESD, "loras": Kind.LORA,
    "controlnet": Kind.CONTROLNET, "t2i_adapter": Kind.CONTROLNET, "ipadapter": Kind.CONTROLNET,
    "embeddings": Kind.EMBEDDING, "hypernetworks": Kind.HYPERNETWORK, "upscale_models": Kind.UPSCALER,
    "text_encoders": Kind.TEXT_ENCODER, "clip": Kind.TEXT_ENCODER, "clip_vision": Kind.TEXT_ENCODER,
}  # fmt: skip
"""The names of kinds in ComfyUI's extra_model_paths.yaml."""
_COMFY_SWITCHES = ("base_path", "is_default")


@dataclass(frozen=True)
class ModelFolders:
    """The folders of each kind, the first is ours. `adopted` are those of other programs: nothing is written there."""

    by_kind: Mapping[Kind, tuple[Path, ...]]
    adopted: frozenset[Path] = field(default_factory=frozenset)

    @classmethod
    def below(cls, models_dir: Path, more: Mapping[Kind, Sequence[Path]] | None = None) -> Self:
        """Return A1111's folders below `models_dir`, and further ones of ours by kind."""
        named = more or {}
        return cls(
            {
                kind: _once((*(models_dir / name for name in names), *named.get(kind, ())))
                for kind, names in BELOW_MODELS.items()
            }
        )

    def of(self, kind: Kind) -> tuple[Path, ...]:
        """Return the folders of a kind."""
        return self.by_kind.get(kind, ())

    def adopt(self, others: Iterable[tuple[Kind, Path]]) -> Self:
        """Return these folders and those of another program."""
        by_kind = {kind: list(folders) for kind, folders in self.by_kind.items()}
        added: set[Path] = set()
        for kind, folder in others:
            if folder not in by_kind[kind]:
                by_kind[kind].append(folder)
                added.add(folder)
        return type(self)({kind: tuple(folders) for kind, folders in by_kind.items()}, self.adopted | added)


def find_folders(config: Config) -> ModelFolders:
    """Return all folders of models that the flags name, ours first. Raises `BadFile` for a damaged list of them."""
    named = {Kind(kind): tuple(folders) for kind, folders in config.model_dirs.items()}
    for kind, names in _BESIDE_MODELS.items():
        found = tuple(folder for name in names if (folder := config.data_dir / name).is_dir())
        named[kind] = (*found, *named.get(kind, ()))
    others = [found for home in config.a1111_homes for found in folders_of_a1111(home)]
    others += [found for file in config.extra_model_paths for found in folders_of_comfyui(file)]
    return ModelFolders.below(config.models_dir, named).adopt(others)


def folders_of_a1111(home: Path) -> list[tuple[Kind, Path]]:
    """Return the folders of models in a folder of A1111 or Forge, those that are there."""
    below = [(kind, home / "models" / name) for kind, names in BELOW_MODELS.items() for name in names]
    beside = [(kind, home / name) for kind, names in _BESIDE_MODELS.items() for name in names]
    return [(kind, folder) for kind, folder in (*below, *beside) if folder.is_dir()]


def folders_of_comfyui(file: Path) -> list[tuple[Kind, Path]]:
    """Return the folders that a file in the form of ComfyUI's extra_model_paths.yaml names.

    Each section may have a `base_path`, to which its folders are relative (without one: to the file); a kind has one
    folder per line. Kinds that Easel has no use for are logged and passed over. Raises `BadFile` when the file cannot
    be read or has another form.
    """
    folders: list[tuple[Kind, Path]] = []
    for section, kinds in _read_yaml(file).items():
        if kinds is None:  # everything in it is commented out
            continue
        if not isinstance(kinds, Mapping):
            raise _bad(file, f"the section {str(section)[:80]!r} is no list of kinds and folders")
        base = file.parent / Path(str(kinds.get("base_path") or "")).expanduser()
        for name, lines in kinds.items():
            if name in _COMFY_SWITCHES:
                continue
            if name not in _COMFY:
                log.info("%s: Easel has no models of the kind %r.", file, str(name)[:80])
                continue
            folders += [(_COMFY[name], base / line) for line in _lines(file, str(name), lines)]
    if len(folders) > _MOST_FOLDERS:
        raise _bad(file, f"it names more than {_MOST_FOLDERS} folders")
    return folders


def _read_yaml(file: Path) -> Mapping[Any, Any]:
    try:
        if file.stat().st_size > _MAX_FILE:
            raise _bad(file, f"it is larger than {_MAX_FILE} bytes")
        content = yaml.safe_load(file.read_text("utf-8-sig"))
    except OSError as error:
        raise _bad(file, f"it cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" in line {place.line + 1}" if place is not None else ""
        raise _bad(file, f"it is not valid YAML{where}") from error
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise _bad(file, "it holds no sections")
    return content


def _lines(file: Path, name: str, lines: object) -> list[str]:
    if lines is None:
        return []
    listed = lines.splitlines() if isinstance(lines, str) else lines
    if not isinstance(listed, list) or not all(isinstance(line, str) for line in listed):
        raise _bad(file, f"{name[:80]!r} is no folder and no list of some")
    return [line.strip() for line in listed if line.strip() and not line.strip().startswith("#")]


def _once(folders: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(folders))


def _bad(file: Path, problem: str) -> BadFile:
    return BadFile(
        f"The file of extra model paths {file}: {problem}.",
        hint="It has the form of ComfyUI's extra_model_paths.yaml; README.md shows one.",
    )
