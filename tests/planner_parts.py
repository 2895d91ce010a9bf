"""A shelf for tests of the planner: two checkpoints' worth of names, no disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from webui.domain.models import Family, Kind, ModelInfo
from webui.domain.plan import PartRef, PartsPlan
from webui.domain.upscaling import LATENT_UPSCALERS, PLAIN_UPSCALERS, UpscalerRef
from webui.errors import NotFound
from webui.extending.features import Features
from webui.extending.scripts import AnyScript, NameKind, find_script


@dataclass(frozen=True)
class FakeShelf:
    """`model` is the current checkpoint, `others` are found by name; every stored picture has `size`."""

    model: ModelInfo
    others: Mapping[str, ModelInfo] = field(default_factory=dict)
    size: tuple[int, int] = (128, 96)
    scripts: Sequence[AnyScript] = ()
    taesd_files: Mapping[str, Path] = field(default_factory=dict)
    features: Features = field(default_factory=Features)
    networks: Sequence[ModelInfo] = ()

    def checkpoint(self, name: str | None) -> ModelInfo:
        known = {None: self.model, self.model.name: self.model, **self.others}
        if name not in known:
            raise NotFound(f"Model not found: {name!r}.", field="model")
        return known[name]

    def vae(self, name: str, checkpoint: ModelInfo) -> ModelInfo | None:
        if name in ("Automatic", "None"):
            return None
        return ModelInfo(name=name, path=Path(f"/models/VAE/{name}.safetensors"), kind=Kind.VAE, sha256="cd" * 32)

    def parts(self, checkpoint: ModelInfo, modules: Sequence[str]) -> PartsPlan:
        """Return a file for each part that the checkpoint lacks; of the `modules` "ae" alone fits, if it lacks one."""
        lacking = [slot.component for slot in checkpoint.slots if slot.component not in checkpoint.parts]
        parts = tuple(
            PartRef(component=name, name=name, path=Path(f"/models/{name}.safetensors"), sha256="12" * 32)
            for name in lacking
        )
        return PartsPlan(parts=parts, unused=tuple(name for name in modules if not (parts and "ae" in name)))

    def taesd(self, half: str, family: Family) -> Path | None:
        return self.taesd_files.get(half) if family == self.model.family else None

    def upscaler(self, name: str) -> UpscalerRef:
        if name in LATENT_UPSCALERS:
            return UpscalerRef(name=name, kind="latent")
        if name in PLAIN_UPSCALERS:
            return UpscalerRef(name=name, kind="plain")
        if name == "net":
            return UpscalerRef(name=name, kind="network", path=Path("/models/ESRGAN/net.safetensors"), sha256="ef" * 32)
        raise NotFound(f"Upscaler not found: {name!r}.", field="upscaler")

    def find(self, kind: Kind, name: str) -> ModelInfo:
        for model in self.networks:
            if model.kind is kind and model.name == name:
                return model
        raise NotFound(f"{kind.value} not found: {name!r}.")

    def models_of(self, kind: Kind) -> Sequence[ModelInfo]:
        return [model for model in self.networks if model.kind is kind]

    def store_picture(self, content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()

    def picture_size(self, reference: str) -> tuple[int, int]:
        return self.size

    def script(self, name: str) -> AnyScript:
        return find_script(name, self.scripts)

    def names(self, kind: NameKind) -> Sequence[str]:
        return [self.model.name, *self.others] if kind == "checkpoint" else []
