"""Checkpoints that draw in a few steps: nothing in their weights says so, but their names and schedulers do.

What is told is only proposed: the model's card and whoever asks say more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from webui.domain.models import Family, ModelDefaults
from webui.weights.checkpoint import Checkpoint
from webui.weights.formats.metadata import read_metadata

TOLD_GUIDANCE = 8.5  # the usual one that LCM's networks are told

_FAMILIES = frozenset({Family.SD1, Family.SD2, Family.SDXL})
_STEPS = re.compile(r"(?<!\d)(\d{1,2})[ _.-]?steps?(?![a-z])")
_MOST_STEPS = 16


@dataclass(frozen=True)
class _Kind:
    """One way to distil: what it is called, how names tell it, and what its makers propose. The first that fits
    counts."""

    words: str
    pattern: re.Pattern[str]
    defaults: ModelDefaults


def _kind(
    words: str,
    pattern: str,
    steps: int,
    guidance: float,
    sampler: str,
    schedule: str = "SGM Uniform",
    size: int | None = None,
) -> _Kind:
    defaults = ModelDefaults(
        steps=steps, guidance=guidance, sampler=sampler, schedule=schedule, width=size, height=size
    )
    return _Kind(words, re.compile(pattern), defaults)


_LCM = _kind("LCM", r"(?<![a-z])lcm(?![a-z])", 6, 1.0, "LCM", "Automatic")
_HYPER = _kind("Hyper-SD", r"hyper[ _-]?(sd|\d+[ _-]?step)", 8, 1.0, "Euler", "Simple")
_TURBO = _kind("Turbo", r"sd[ _-]?(xl)?[ _-]?turbo", 4, 1.0, "Euler a", size=512)
_KINDS = (
    _kind("DMD2", r"(?<![a-z])dmd2?(?![a-z])", 4, 1.0, "LCM", "Simple"),
    _HYPER,
    _kind("Lightning", r"lightning", 6, 1.5, "Euler"),
    _TURBO,
    _kind(
        "Turbo", r"turbo", 6, 2.0, "DPM++ SDE", "Karras"
    ),  # merges of Turbo with other models, as most of them recommend
    _LCM,
)
_SCHEDULERS: Mapping[str, _Kind] = {"LCMScheduler": _LCM, "TCDScheduler": _HYPER}


def propose(checkpoint: Checkpoint) -> Checkpoint:
    """Return `checkpoint` with what is proposed for its kind, where it is one that draws in a few steps."""
    kind = _find(checkpoint)
    if kind is None:
        return checkpoint
    changes = _proposal(kind, _words_of(checkpoint))
    if _is_told_guidance(checkpoint):
        changes["distilled_guidance"] = TOLD_GUIDANCE
    return replace(checkpoint, defaults=checkpoint.defaults.replace(**changes))


def tell_distillation(checkpoint: Checkpoint) -> str:
    """Return what the way is called in which `checkpoint` was distilled to draw in a few steps, "" where it was not."""
    kind = _find(checkpoint)
    return kind.words if kind else ""


def _find(checkpoint: Checkpoint) -> _Kind | None:
    if checkpoint.family not in _FAMILIES:
        return None
    if _is_told_guidance(checkpoint):
        return _LCM
    words = _words_of(checkpoint)
    return next((kind for kind in _KINDS if kind.pattern.search(words)), None) or _by_scheduler(checkpoint)


def _is_told_guidance(checkpoint: Checkpoint) -> bool:
    return bool(checkpoint.configs["unet"].get("time_cond_proj_dim"))


def _proposal(kind: _Kind, words: str) -> dict[str, Any]:
    """Return what is proposed; a number of steps in the name is what the model was distilled for."""
    proposal = {name: value for name, value in kind.defaults if value is not None}
    steps = _STEPS.search(words)
    if steps and 1 <= int(steps[1]) <= _MOST_STEPS:
        proposal |= {"steps": int(steps[1]), "guidance": 1.0}
    return proposal


def _words_of(checkpoint: Checkpoint) -> str:
    """Return name and title in small letters, "XLTurbo" and the like taken apart."""
    path = checkpoint.path
    name = path.name if checkpoint.layout == "diffusers" else path.stem
    title = "" if checkpoint.layout == "diffusers" else read_metadata(path).get("modelspec.title", "")
    return re.sub(r"(?<=[a-zL])(?=[A-Z][a-z])", " ", f"{name} {title}").lower()


def _by_scheduler(checkpoint: Checkpoint) -> _Kind | None:
    if checkpoint.layout != "diffusers":
        return None
    config = json.loads((checkpoint.path / "scheduler" / "scheduler_config.json").read_text("utf-8"))
    name = str(config.get("_class_name", ""))
    if name == "EulerAncestralDiscreteScheduler" and config.get("timestep_spacing") == "trailing":
        return _TURBO
    return _SCHEDULERS.get(name)
