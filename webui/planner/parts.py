"""Which files complete the checkpoints of a plan."""

from __future__ import annotations

from dataclasses import dataclass

from webui.domain.models import Family, ModelInfo
from webui.domain.plan import ModelRef, VaeRef
from webui.domain.request import GenerationRequest
from webui.errors import BadFile, BadRequest
from webui.planner.shelf import Shelf
from webui.settings import ALIASES, Settings

_XL = frozenset({Family.SDXL, Family.SDXL_REFINER, Family.PLAYGROUND})


@dataclass(frozen=True)
class PlannedModel:
    """A checkpoint with the files that complete it, the VAE that stands in for its own, and what the user should know
    about them."""

    model: ModelRef
    vae: VaeRef | None = None
    notes: tuple[str, ...] = ()


def plan_model(checkpoint: ModelInfo, request: GenerationRequest, settings: Settings, shelf: Shelf) -> PlannedModel:
    """Return the first model of `request`. What it names by hand must fit; what the settings name is used if it does.

    A checkpoint without a VAE takes the one that is chosen as its own.
    """
    lacks_vae = any(slot.role == "vae" and slot.component not in checkpoint.parts for slot in checkpoint.slots)
    vae = _plan_vae(request, settings, checkpoint, shelf)
    modules = settings.modules if request.modules is None else request.modules
    chosen = (str(vae.path), *modules) if lacks_vae and vae is not None else modules
    model, unused = _refer(checkpoint, chosen, settings, shelf)
    if unused and request.modules is not None:
        raise BadRequest(
            f"{unused[0]} fits no part of {checkpoint.name}.",
            hint="Choose a VAE or a text encoder that was made for this kind of model, or none.",
            field="modules",
        )
    notes = tuple(f"{ALIASES['modules']}: {name} fits no part of {checkpoint.name}." for name in unused)
    return PlannedModel(model, None if lacks_vae else vae, notes)


def refer_other(checkpoint: ModelInfo, request: GenerationRequest, settings: Settings, shelf: Shelf) -> ModelRef:
    """Return another model of `request`: what is chosen by hand for the first one holds for it where it fits."""
    return _refer(checkpoint, settings.modules if request.modules is None else request.modules, settings, shelf)[0]


def _refer(
    checkpoint: ModelInfo, chosen: tuple[str, ...], settings: Settings, shelf: Shelf
) -> tuple[ModelRef, tuple[str, ...]]:
    """Return the reference to a checkpoint, and which of the `chosen` files fit nowhere; `BadFile` when it cannot be
    used."""
    if checkpoint.family is None or checkpoint.sha256 is None:
        problem = checkpoint.problem or "it could not be identified"
        raise BadFile(f"Model {checkpoint.name!r} cannot be used: {problem}.")
    found = shelf.parts(checkpoint, chosen)
    reference = ModelRef(
        name=checkpoint.name,
        path=checkpoint.path,
        family=checkpoint.family,
        layout=checkpoint.layout,
        sha256=checkpoint.sha256,
        parts=found.parts,
        tokenizer=found.tokenizer,
        eight_bit=_keeps_eight_bit(checkpoint.family, settings),
    )
    return reference, found.unused


def _keeps_eight_bit(family: Family, settings: Settings) -> bool:
    if family is Family.OTHER:  # diffusers' own pipelines load them
        return False
    asked = settings.fp8_storage
    return asked == "Enable" or (asked == "Enable for SDXL" and family in _XL)


def _plan_vae(request: GenerationRequest, settings: Settings, checkpoint: ModelInfo, shelf: Shelf) -> VaeRef | None:
    """Return the VAE file that stands in for the checkpoint's own, if any."""
    if checkpoint.family is Family.OTHER:
        return None
    found = shelf.vae(request.vae or settings.vae, checkpoint)
    if found is None:
        return None
    assert found.sha256 is not None
    return VaeRef(name=found.path.name, path=found.path, sha256=found.sha256)
