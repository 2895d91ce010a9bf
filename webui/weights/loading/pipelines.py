"""diffusers' own pipelines from a folder: every part by its class, none from the hub, no code but the libraries'."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import logging
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline, ModelMixin, SchedulerMixin
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from webui.domain.pipelines import PipelineInfo, find_pipeline
from webui.errors import BadFile
from webui.weights.checkpoint import Checkpoint
from webui.weights.recognition.pipeline_folders import entries, weight_variant

log = logging.getLogger(__name__)

_FEWEST_TOKENS = 256  # with files missing, transformers builds a tokenizer of a handful of tokens instead of failing


@dataclass(frozen=True)
class Seen:
    """One step of a scheduler: its number from 1 and how many there are; the latents after it, and the clean ones it
    expects, where it says so. `stage`: the scheduler's place among those of the pipeline."""

    stage: int
    step: int
    steps: int
    latents: Tensor
    denoised: Tensor


class Watch:
    """Is told of every step of a pipeline's schedulers, and tells who looks."""

    def __init__(self) -> None:
        self._look: Callable[[Seen], None] | None = None
        self._stages: list[object] = []
        self._steps: dict[int, int] = {}

    def attend(self, scheduler: object) -> None:
        """Count `scheduler` as the next stage."""
        self._stages.append(scheduler)

    @contextmanager
    def looking(self, look: Callable[[Seen], None]) -> Iterator[None]:
        """Let `look` see the steps until the end of the block; what it raises ends the pipeline's run."""
        self._look, self._steps = look, {}
        try:
            yield
        finally:
            self._look = None

    def tell(self, scheduler: Any, result: Any) -> None:
        """Take note of what a scheduler's step returned."""
        if self._look is None:
            return
        stage = next(number for number, known in enumerate(self._stages) if known is scheduler)
        self._steps[stage] = step = self._steps.get(stage, 0) + 1
        latents = result[0]
        denoised = getattr(result, "pred_original_sample", result[1] if len(result) > 1 else None)
        usable = isinstance(denoised, Tensor) and denoised.shape == latents.shape
        self._look(Seen(stage, step, len(scheduler.timesteps), latents, denoised if usable else latents))


@dataclass(frozen=True)
class LoadedPipeline:
    """A pipeline of diffusers on the CPU, what is known about it, and what tells of its steps."""

    checkpoint: Checkpoint
    info: PipelineInfo
    pipeline: DiffusionPipeline
    watch: Watch
    dtype: torch.dtype


def load_pipeline(checkpoint: Checkpoint, dtype: torch.dtype) -> LoadedPipeline:
    """Return the pipeline of a folder with all of its parts in `dtype`.

    Raises `BadFile` when a class is none of the libraries', or its files do not fit.
    """
    name = checkpoint.path.name
    info = find_pipeline(str(checkpoint.index["_class_name"]))
    assert info is not None
    watch = Watch()
    parts = {}
    transformers.utils.logging.disable_progress_bar()  # a bar for each part says nothing in a log
    for part, library, network in entries(checkpoint.index):
        try:
            parts[part] = _load_part(checkpoint, part, _find_class(library, network), dtype, watch)
        except BadFile:
            raise
        except Exception as error:  # foreign files can fail in any way inside the libraries
            raise BadFile(f"{name}: its {part} cannot be loaded: {error}", field="model") from error
    try:
        pipeline = _assemble(getattr(diffusers, info.name), parts, checkpoint.index)
    except Exception as error:
        raise BadFile(f"{name}: its parts do not fit together: {error}", field="model") from error
    return LoadedPipeline(checkpoint, info, pipeline, watch, dtype)


def _find_class(library: str, name: str) -> type[Any]:
    """Return a class of diffusers or transformers; raise `ValueError` for what is no class of parts there."""
    found = next((getattr(module, name) for module in _find_modules(library) if hasattr(module, name)), None)
    kinds = (ModelMixin, SchedulerMixin, PreTrainedModel, PreTrainedTokenizerBase, transformers.ImageProcessingMixin)
    if not (isinstance(found, type) and issubclass(found, kinds)):
        raise ValueError(f"{library} has no part called {name}")
    return found


def _find_modules(library: str) -> Iterator[types.ModuleType]:
    """Yield what `library` may mean: diffusers, transformers, or a package of diffusers' pipelines, some of which were
    moved to another place since folders name them."""
    named = {"diffusers": diffusers, "transformers": transformers}
    if library in named:
        yield named[library]
        return
    for package in ("diffusers.pipelines", "diffusers.pipelines.deprecated"):
        if importlib.util.find_spec(f"{package}.{library}") is not None:
            yield importlib.import_module(f"{package}.{library}")


def _load_part(checkpoint: Checkpoint, part: str, kind: type[Any], dtype: torch.dtype, watch: Watch) -> Any:
    folder = checkpoint.path / part
    if issubclass(kind, ModelMixin | PreTrainedModel):
        precision = {"torch_dtype" if issubclass(kind, ModelMixin) else "dtype": dtype}
        variant = weight_variant(checkpoint.parts[part].files)
        network = kind.from_pretrained(
            folder, variant=variant, use_safetensors=True, local_files_only=True, **precision
        )
        return network.requires_grad_(False).eval()
    if issubclass(kind, SchedulerMixin):
        scheduler = watched(kind, watch).from_pretrained(folder, local_files_only=True)
        watch.attend(scheduler)
        return scheduler
    loaded = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if isinstance(loaded, PreTrainedTokenizerBase) and len(loaded) <= _FEWEST_TOKENS:
        raise ValueError(f"it has {len(loaded)} tokens; files are missing")
    return loaded


def watched(kind: type[Any], watch: Watch) -> type[Any]:
    """Return a class that is like the scheduler `kind`, also to pipelines that ask for its name or the signature of its
    `step`, and tells `watch` of each step."""

    @functools.wraps(kind.step)
    def step(self: Any, *given: Any, **named: Any) -> Any:
        result = kind.step(self, *given, **named)
        watch.tell(self, result)
        return result

    return type(kind.__name__, (kind,), {"step": step, "__module__": kind.__module__})


def _assemble(kind: type[DiffusionPipeline], parts: Mapping[str, Any], index: Mapping[str, Any]) -> DiffusionPipeline:
    """Return the pipeline of `parts` with the numbers its model_index.json holds; what it can do without is None."""
    known = inspect.signature(kind.__init__).parameters
    numbers = {name: value for name, value in index.items() if name in known and not isinstance(value, list)}
    missing = {name: None for name in known if name in kind._optional_components}
    unneeded = {"requires_safety_checker": False} if "requires_safety_checker" in known else {}
    pipeline = kind(**{**missing, **numbers, **unneeded, **parts})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
