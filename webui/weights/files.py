"""The sorts of models that are one file each: VAEs and upscalers, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self

from webui.domain.models import Kind, ModelInfo
from webui.errors import BadFile
from webui.weights.catalog import VAE_SUFFIXES, Catalog, Sort
from webui.weights.hashes import HashCache
from webui.weights.identify import PICKLE_SUFFIXES, read_header
from webui.weights.other_kinds import refuse_other_kind
from webui.weights.upscaler_files import identify_upscaler

UPSCALER_FOLDERS = (
    "ESRGAN", "RealESRGAN", "BSRGAN", "SwinIR", "Swin2SR", "ScuNET", "DAT", "HAT", "upscale_models",
)  # fmt: skip
"""Where A1111, Forge and ComfyUI keep upscalers, below the models folder."""

VAE_FOLDERS = ("VAE",)

_SUFFIXES = (".safetensors", *PICKLE_SUFFIXES)  # pickles are listed with the reason why they are not used


@dataclass(frozen=True)
class VaeFile:
    """A VAE of its own: `prefix` is what its tensors' names begin with before `encoder.` and `decoder.`."""

    path: Path
    prefix: str = ""

    @property
    def weight_files(self) -> tuple[Path, ...]:
        return (self.path,)


def identify_vae(path: Path) -> VaeFile:
    """Return what the VAE file at `path` is; raise `BadFile` with one sentence on what is wrong with it."""
    try:
        header = read_header(path)
    except OSError as error:
        raise BadFile(f"{path.name} cannot be read: {error.strerror or error}.", field="vae") from error
    for prefix in ("", "first_stage_model.", "vae."):
        first = header.get(f"{prefix}decoder.conv_in.weight")
        if first is None or f"{prefix}encoder.conv_in.weight" not in header:
            continue
        if any(name.startswith("model.diffusion_model.") for name in header):
            break
        if len(first.shape) != 4 or first.shape[1] != 4:
            channels = first.shape[1] if len(first.shape) > 1 else 0
            raise BadFile(
                f"{path.name}: its latents have {channels} channels; the checkpoints here need 4.", field="vae"
            )
        return VaeFile(path, prefix)
    refuse_other_kind(path, header, Kind.VAE)
    raise BadFile(f"{path.name}: not a VAE with encoder and decoder.", field="vae")


UPSCALERS = Sort(
    kind=Kind.UPSCALER,
    wants=lambda file: file.name.lower().endswith(_SUFFIXES),
    folder_mark="config.json",
    identify=identify_upscaler,
    field="upscaler",
    words="Upscaler",
    home="models/ESRGAN",
)


@dataclass(frozen=True)
class ModelFiles:
    """The catalogs of the models that are one file each."""

    vaes: Catalog
    upscalers: Catalog

    @classmethod
    def find(cls, models_dir: Path, checkpoint_dirs: Sequence[Path], hashes: HashCache) -> Self:
        """Look below the models folder, and for VAEs among the checkpoints too."""
        return cls(
            vaes=Catalog(
                [*(models_dir / folder for folder in VAE_FOLDERS), *checkpoint_dirs], hashes, _vaes(checkpoint_dirs)
            ),
            upscalers=Catalog([models_dir / folder for folder in UPSCALER_FOLDERS], hashes, UPSCALERS),
        )

    def refresh(self) -> None:
        """Look at the folders again."""
        self.vaes.refresh()
        self.upscalers.refresh()

    def models(self) -> tuple[ModelInfo, ...]:
        """Return all of them, broken ones with their `problem` included."""
        return (*self.vaes.models(), *self.upscalers.models())


def _vaes(checkpoint_dirs: Sequence[Path]) -> Sort:
    """Return how to look for VAEs: all files in their own folder, among the checkpoints what is called one."""

    def may_be_vae(file: Path) -> bool:
        name = file.name.lower()
        among_checkpoints = any(file.is_relative_to(folder) for folder in checkpoint_dirs)
        return name.endswith(VAE_SUFFIXES if among_checkpoints else _SUFFIXES)

    return Sort(
        kind=Kind.VAE,
        wants=may_be_vae,
        folder_mark="",
        identify=identify_vae,
        field="vae",
        words="VAE",
        home="models/VAE",
    )
