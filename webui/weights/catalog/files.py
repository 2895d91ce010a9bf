"""The sorts of models there are, and the catalogs of all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from typing_extensions import Self

from webui.domain.models import Kind, ModelInfo
from webui.errors import NotFound
from webui.weights.catalog.cards import CardFiles
from webui.weights.catalog.catalog import Catalog, Sort
from webui.weights.catalog.hashes import old_hash
from webui.weights.catalog.index import ModelIndex
from webui.weights.catalog.model_facts import ModelFacts
from webui.weights.catalog.places import ModelFolders
from webui.weights.formats.headers import PICKLE_SUFFIXES
from webui.weights.formats.metadata import THUMBNAIL, read_metadata, told_card, told_details
from webui.weights.recognition.control_files import identify_control
from webui.weights.recognition.detectors import identify_detector
from webui.weights.recognition.embeddings import identify_embedding
from webui.weights.recognition.encoder_files import identify_encoder
from webui.weights.recognition.hypernetworks import identify_hypernetwork
from webui.weights.recognition.identify import identify
from webui.weights.recognition.lora_files import identify_lora
from webui.weights.recognition.traits import told_traits
from webui.weights.recognition.upscaler_files import identify_upscaler
from webui.weights.recognition.vae_files import identify_vae

_AMONG: Mapping[Kind, Kind] = {
    Kind.T2I_ADAPTER: Kind.CONTROLNET,
    Kind.IP_ADAPTER: Kind.CONTROLNET,
    Kind.IMAGE_ENCODER: Kind.TEXT_ENCODER,
}
"""Kinds that lie in the folders of others."""
VAE_SUFFIXES = (".vae.safetensors", ".vae.ckpt", ".vae.pt")
"""A1111 keeps a checkpoint's own VAE beside it under such a name."""

_SUFFIXES = (".safetensors", ".sft", ".gguf", *PICKLE_SUFFIXES)
_CHECKPOINT_SUFFIXES = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth")


def _checkpoint_facts(path: Path) -> ModelFacts:
    found = identify(path)
    whole = path.is_file()
    metadata = read_metadata(path) if whole else {}
    return ModelFacts(
        family=found.family,
        variant=found.variant,
        parts=found.components,
        slots=found.slots,
        weights=() if whole else tuple(file.relative_to(path).as_posix() for file in found.weight_files),
        defaults=found.defaults,
        old_hash=old_hash(path) if whole else None,
        told=told_card(metadata),
        details={**told_details(metadata), **told_traits(found)},
        has_thumbnail=THUMBNAIL in metadata,
    )


def _vae_facts(path: Path) -> ModelFacts:
    found = identify_vae(path)
    channels = found.config["latent_channels"]
    return ModelFacts(parts=("vae",), role="vae", width=channels, details={"latent_channels": channels})


def _upscaler_facts(path: Path) -> ModelFacts:
    found = identify_upscaler(path)
    scale = getattr(found.shape, "scale", None)
    return ModelFacts(
        weights=(found.file.relative_to(path).as_posix(),) if path.is_dir() else (),
        details={} if scale is None else {"scale": scale},
    )


CHECKPOINTS = Sort(
    kind=Kind.CHECKPOINT,
    wants=lambda name, root: name.endswith(_CHECKPOINT_SUFFIXES) and not name.endswith(VAE_SUFFIXES),
    folder_mark="model_index.json",
    identify=_checkpoint_facts,
    field="model",
    words="Model",
    home="models/Stable-diffusion",
)


def _weights(kind: Kind, words: str, home: str, identify: Callable[[Path], ModelFacts], folder_mark: str = "") -> Sort:
    """Return a sort for which every file of weights in its folders may be a model."""
    return Sort(
        kind=kind,
        wants=lambda name, root: name.endswith(_SUFFIXES),
        folder_mark=folder_mark,
        identify=identify,
        field=kind.value,
        words=words,
        home=home,
    )


UPSCALERS = _weights(Kind.UPSCALER, "Upscaler", "models/ESRGAN", _upscaler_facts, "config.json")
LORAS = _weights(Kind.LORA, "LoRA", "models/Lora", identify_lora, "adapter_config.json")
CONTROLNETS = _weights(Kind.CONTROLNET, "ControlNet", "models/ControlNet", identify_control, "config.json")
EMBEDDINGS = _weights(Kind.EMBEDDING, "Embedding", "models/embeddings", identify_embedding)
HYPERNETWORKS = _weights(Kind.HYPERNETWORK, "Hypernetwork", "models/hypernetworks", identify_hypernetwork)
TEXT_ENCODERS = _weights(Kind.TEXT_ENCODER, "Text encoder", "models/text_encoder", identify_encoder, "config.json")

DETECTORS = Sort(
    kind=Kind.DETECTOR,
    wants=lambda name, root: name.endswith((".onnx", ".pt")),
    folder_mark="",
    identify=identify_detector,
    field=Kind.DETECTOR.value,
    words="Detector",
    home="models/adetailer",
)


def vaes_among(checkpoint_dirs: Collection[Path]) -> Sort:
    """Return how to look for VAEs: all files in their own folders, among the checkpoints what is called one."""

    def may_be_vae(name: str, root: Path) -> bool:
        return name.endswith(VAE_SUFFIXES if root in checkpoint_dirs else _SUFFIXES)

    return Sort(
        kind=Kind.VAE,
        wants=may_be_vae,
        folder_mark="",
        identify=_vae_facts,
        field="vae",
        words="VAE",
        home="models/VAE",
    )


@dataclass(frozen=True)
class ModelFiles:
    """The catalogs of all sorts of models."""

    checkpoints: Catalog
    vaes: Catalog
    upscalers: Catalog
    loras: Catalog
    controlnets: Catalog
    embeddings: Catalog
    hypernetworks: Catalog
    text_encoders: Catalog
    detectors: Catalog
    taesd_dirs: tuple[Path, ...] = ()
    by_kind: Mapping[Kind, Catalog] = field(init=False)

    def __post_init__(self) -> None:
        catalogs = {
            Kind.CHECKPOINT: self.checkpoints,
            Kind.VAE: self.vaes,
            Kind.UPSCALER: self.upscalers,
            Kind.LORA: self.loras,
            Kind.CONTROLNET: self.controlnets,
            Kind.EMBEDDING: self.embeddings,
            Kind.HYPERNETWORK: self.hypernetworks,
            Kind.TEXT_ENCODER: self.text_encoders,
            Kind.DETECTOR: self.detectors,
        }
        object.__setattr__(self, "by_kind", catalogs)

    @classmethod
    def find(
        cls, folders: ModelFolders, index: ModelIndex, cards_dir: Path | None = None, patience: float | None = None
    ) -> Self:
        """Look into all folders, for up to `patience` seconds at files that the index does not know (None: at all).

        Cards of models in other programs' folders are kept in `cards_dir`.
        """
        cards = CardFiles(folders.adopted, cards_dir)
        look = _looker(folders, index, cards, patience)
        checkpoint_dirs = folders.of(Kind.CHECKPOINT)
        return cls(
            checkpoints=look(CHECKPOINTS, ()),
            vaes=look(vaes_among(frozenset(checkpoint_dirs) - frozenset(folders.of(Kind.VAE))), checkpoint_dirs),
            upscalers=look(UPSCALERS, ()),
            loras=look(LORAS, ()),
            controlnets=look(CONTROLNETS, ()),
            embeddings=look(EMBEDDINGS, ()),
            hypernetworks=look(HYPERNETWORKS, ()),
            text_encoders=look(TEXT_ENCODERS, ()),
            detectors=look(DETECTORS, ()),
            taesd_dirs=folders.of(Kind.TAESD),
        )

    def of(self, kind: Kind) -> Catalog:
        """Return the catalog that models of a kind are in; `NotFound` when there is none."""
        home = _AMONG.get(kind, kind)
        if home not in self.by_kind:
            known = ", ".join(each.value for each in (*self.by_kind, *_AMONG))
            raise NotFound(f"There is no list of models of the kind {kind.value!r}.", hint=f"There are: {known}.")
        return self.by_kind[home]

    def models_of(self, kind: Kind) -> tuple[ModelInfo, ...]:
        """Return the models of a kind; with it those of other kinds that lie among them, but not the other way."""
        models = self.of(kind).models()
        return tuple(model for model in models if model.kind is kind) if kind in _AMONG else models

    def refresh(self) -> None:
        """Look at the folders again."""
        for catalog in self.by_kind.values():
            catalog.refresh()

    def models(self) -> tuple[ModelInfo, ...]:
        """Return all of them, broken ones with their `problem` included."""
        return tuple(model for catalog in self.by_kind.values() for model in catalog.models())


def _looker(
    folders: ModelFolders, index: ModelIndex, cards: CardFiles, patience: float | None
) -> Callable[[Sort, tuple[Path, ...]], Catalog]:
    """Return what makes the catalog of a sort, from its own folders and some more. The patience is for all together
    the first time, so that many new files do not keep the program from starting."""
    until = None if patience is None else time.monotonic() + patience

    def look(sort: Sort, more: tuple[Path, ...]) -> Catalog:
        directories = [*folders.of(sort.kind), *more]
        if until is None or patience is None:
            return Catalog(directories, index, sort, cards)
        return Catalog(directories, index, sort, cards, patience, first_patience=max(0.0, until - time.monotonic()))

    return look
