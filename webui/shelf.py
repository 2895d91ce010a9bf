"""Finds what the names in a request stand for: models on the disk, stored pictures, scripts."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

from webui.domain.models import Family, Kind, ModelInfo
from webui.domain.plan import PartRef, PartsPlan
from webui.domain.sampling import SAMPLERS, SCHEDULES, find_sampler, find_schedule
from webui.domain.upscaling import LATENT_UPSCALERS, PLAIN_UPSCALERS, UpscalerRef
from webui.errors import BadFile, EaselError, NotFound
from webui.extending.features import Features
from webui.extending.scripts import AnyScript, NameKind, find_script
from webui.images.open import read_size
from webui.jobs.inputs import InputStore
from webui.prompt.styles import Styles
from webui.weights.catalog.catalog import Catalog
from webui.weights.catalog.files import VAE_SUFFIXES, ModelFiles
from webui.weights.recognition.part_search import PartSearch
from webui.weights.recognition.vae_files import Half, find_taesd

AUTOMATIC = "Automatic"
NONE = "None"
INCLUDED = ("pocket-sd1", "pocket-sdxl", "pocket-flux")  # the checkpoints that come with the program, the best first


class Shelf:
    """All models, pictures and scripts there are; what the planner asks (`webui.planner.shelf.Shelf`)."""

    def __init__(
        self,
        files: ModelFiles,
        inputs: InputStore,
        styles: Styles,
        scripts: Callable[[], Sequence[AnyScript]],
        hint: str,
        features: Features | None = None,
    ) -> None:
        """`hint` says where to put a checkpoint when there is none."""
        self.files = files
        self.checkpoints = files.checkpoints
        self.vaes = files.vaes
        self.upscalers = files.upscalers
        self._parts = PartSearch(files)
        self._taesd_dirs = files.taesd_dirs
        self._inputs = inputs
        self._styles = styles
        self._scripts = scripts
        self._hint = hint
        self.features = features or Features()

    def refresh(self) -> None:
        """Look at all model folders again."""
        self.files.refresh()

    def find_checkpoint(self, name: str | None) -> ModelInfo:
        """Return the checkpoint, or the first usable one (None), as far as it is known without reading its file.

        Where that is one of the included models, it is the best of them.
        """
        if name:
            return self.checkpoints.find(name)
        usable = self.checkpoints.first_usable(self._whole)
        if usable is None:
            raise NotFound("There is no usable checkpoint.", hint=self._hint, field="model")
        return self._best_included() if usable.name in INCLUDED else usable

    def _best_included(self) -> ModelInfo:
        there = {model.name: model for model in self.checkpoints.models() if model.problem is None}
        return self.checkpoints.settle(next(there[name] for name in INCLUDED if name in there))

    def checkpoint(self, name: str | None) -> ModelInfo:
        return self.checkpoints.hashed(self.find_checkpoint(name))

    def vae(self, name: str, checkpoint: ModelInfo) -> ModelInfo | None:
        if name in ("", NONE):
            return None
        if name != AUTOMATIC:
            return self.vaes.hashed(self.vaes.find(name))
        names = [f"{checkpoint.path.stem}{suffix}".lower() for suffix in VAE_SUFFIXES]
        beside = [
            vae
            for vae in self.vaes.models()
            if vae.problem is None and vae.path.parent == checkpoint.path.parent and vae.filename.lower() in names
        ]
        return self.vaes.hashed(beside[0]) if beside else None

    def models(self) -> tuple[ModelInfo, ...]:
        """Return all checkpoints; one that lacks a part that is nowhere has that as its `problem`."""
        return tuple(self._whole(model) for model in self.checkpoints.models())

    def _whole(self, checkpoint: ModelInfo) -> ModelInfo:
        if checkpoint.problem is not None or not checkpoint.slots:
            return checkpoint
        problem = self._parts.find(checkpoint).problem
        return checkpoint if problem is None else checkpoint.replace(problem=problem)

    def parts(self, checkpoint: ModelInfo, modules: Sequence[str]) -> PartsPlan:
        found = self._parts.find(checkpoint, [self.module(name) for name in modules])
        if found.problem is not None:
            raise BadFile(f"{checkpoint.filename}: {found.problem}", field="model")
        return PartsPlan(
            parts=tuple(self._refer(component, model) for component, model in found.parts),
            tokenizer=found.tokenizer,
            unused=tuple(model.name for model in found.unused),
        )

    def part_names(self, checkpoint: ModelInfo, modules: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the files that complete `checkpoint`, as far as they are there; nothing is hashed."""
        try:
            chosen = [self.module(name) for name in modules]
        except EaselError:  # those of the settings may be gone
            chosen = []
        return tuple(model.name for _, model in self._parts.find(checkpoint, chosen).parts)

    def module(self, name: str) -> ModelInfo:
        """Return the VAE or the text encoder that is called `name`, or has the name of the file at the path `name`."""
        bare = name.replace("\\", "/").rpartition("/")[2]
        for catalog in (self.vaes, self.files.text_encoders):
            for each in dict.fromkeys((name, bare)):
                try:
                    return catalog.find(each)
                except NotFound:
                    continue
        names = ", ".join(self.names("module")) or "none"
        raise NotFound(f"VAE or text encoder not found: {name!r}.", hint=f"There are: {names}.", field="modules")

    def _refer(self, component: str, model: ModelInfo) -> PartRef:
        catalog = self.vaes if model.role == "vae" else self.files.text_encoders
        return PartRef(component=component, name=model.name, path=model.path, sha256=catalog.hashed(model).sha256 or "")

    def taesd(self, half: Half, family: Family) -> Path | None:
        return find_taesd(self._taesd_dirs, half, family)

    def upscaler(self, name: str) -> UpscalerRef:
        extra = [each.name for each in self.features.upscalers]
        for kind, known in (("latent", LATENT_UPSCALERS), ("plain", PLAIN_UPSCALERS), ("extension", extra)):
            for each in known:
                if each.lower() == name.strip().lower():
                    return UpscalerRef(name=each, kind=kind)
        try:
            found = self.upscalers.hashed(self.upscalers.find(name))
        except NotFound as error:
            names = self.names("upscaler")
            near = difflib.get_close_matches(name, names, 3, 0.4)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(names)}."
            raise NotFound(f"Upscaler not found: {name!r}.", hint=hint, field="upscaler") from error
        return UpscalerRef(name=found.name, kind="network", path=found.path, sha256=found.sha256 or "")

    def find(self, kind: Kind, name: str) -> ModelInfo:
        catalog = self.files.of(kind)
        return catalog.hashed(catalog.find(name))

    def models_of(self, kind: Kind) -> Sequence[ModelInfo]:
        return [model for model in self.files.of(kind).models() if model.kind is kind]

    def store_picture(self, content: bytes) -> str:
        return self._inputs.add(content).id

    def picture_size(self, reference: str) -> tuple[int, int]:
        return read_size(self._inputs.path(reference))

    def script(self, name: str) -> AnyScript:
        return find_script(name, self._scripts())

    def names(self, kind: NameKind) -> Sequence[str]:
        match kind:
            case "sampler":
                return [*(sampler.name for sampler in SAMPLERS), *(each.name for each in self.features.samplers)]
            case "schedule":
                return [*(schedule.label for schedule in SCHEDULES), *(each.name for each in self.features.schedules)]
            case "checkpoint":
                return [model.name for model in self.models() if model.problem is None]
            case "vae":
                return [AUTOMATIC, NONE, *_usable(self.vaes)]
            case "module":
                return [*_usable(self.vaes), *_usable(self.files.text_encoders)]
            case "upscaler":
                return [*LATENT_UPSCALERS, *self.names("picture_upscaler")]
            case "picture_upscaler":
                extra = [each.name for each in self.features.upscalers]
                return [*PLAIN_UPSCALERS, *_usable(self.upscalers), *extra]
            case "style":
                return list(self._styles.all())
            case "preprocessor":
                return [each.name for each in self.features.preprocessors]
            case "controlnet":
                return [model.name for model in self._usable_of(Kind.CONTROLNET, Kind.T2I_ADAPTER)]
            case _:
                return [model.name for model in self._usable_of(Kind(kind))]

    def _usable_of(self, *kinds: Kind) -> list[ModelInfo]:
        return [model for kind in kinds for model in self.models_of(kind) if model.problem is None]

    def proper_name(self, kind: NameKind, name: str) -> str:
        """Return the name under which `names` lists what `name` means; `NotFound` when it means nothing."""
        listed = {each.lower(): each for each in self.names(kind)}
        if name.strip().lower() in listed:
            return listed[name.strip().lower()]
        match kind:
            case "sampler":
                return find_sampler(name).name
            case "schedule":
                return find_schedule(name).label
            case "checkpoint":
                return self.checkpoints.find(name).name
            case "vae":
                return self.vaes.find(name).name
            case "module":
                return self.module(name).name
            case "upscaler" | "picture_upscaler":
                return self.upscalers.find(name).name
            case "preprocessor":
                return self.features.find_preprocessor(name).name
            case "controlnet":
                return self.files.of(Kind.CONTROLNET).find(name).name
            case "lora" | "embedding" | "hypernetwork" | "ip_adapter" | "image_encoder" | "detector":
                return self.files.of(Kind(kind)).find(name).name
            case "style":
                raise NotFound(f"Style not found: {name!r}.", hint="Look into styles.csv.", field="styles")


def _usable(catalog: Catalog) -> list[str]:
    return [model.name for model in catalog.models() if model.problem is None]
