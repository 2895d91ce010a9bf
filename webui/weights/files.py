"""The sorts of models that are one file each: VAEs and upscalers, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self

from webui.domain.models import Kind, ModelInfo
from webui.weights.catalog import VAE_SUFFIXES, Catalog, Sort
from webui.weights.hashes import HashCache
from webui.weights.headers import PICKLE_SUFFIXES
from webui.weights.upscaler_files import identify_upscaler
from webui.weights.vae_files import identify_vae

UPSCALER_FOLDERS = (
    "ESRGAN", "RealESRGAN", "BSRGAN", "SwinIR", "Swin2SR", "ScuNET", "DAT", "HAT", "upscale_models",
)  # fmt: skip
"""Where A1111, Forge and ComfyUI keep upscalers, below the models folder."""

VAE_FOLDERS = ("VAE",)
TAESD_FOLDERS = ("VAE-approx", "VAE-taesd", "vae_approx")

_SUFFIXES = (".safetensors", *PICKLE_SUFFIXES)  # pickles are listed with the reason why they are not used


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
    taesd_dirs: tuple[Path, ...] = ()

    @classmethod
    def find(cls, models_dir: Path, checkpoint_dirs: Sequence[Path], hashes: HashCache) -> Self:
        """Look below the models folder, and for VAEs among the checkpoints too."""
        return cls(
            vaes=Catalog(
                [*(models_dir / folder for folder in VAE_FOLDERS), *checkpoint_dirs], hashes, _vaes(checkpoint_dirs)
            ),
            upscalers=Catalog([models_dir / folder for folder in UPSCALER_FOLDERS], hashes, UPSCALERS),
            taesd_dirs=tuple(models_dir / folder for folder in TAESD_FOLDERS),
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
