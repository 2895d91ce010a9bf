"""Which checkpoints control files go with. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from extensions.controlnet.facts import ControlRef
from webui.extending.api import BadFile, BadRequest, Family

FIELD = "extensions.controlnet.units"
UNETS = (Family.SD1, Family.SD2, Family.SDXL, Family.PLAYGROUND)
TRANSFORMERS = (Family.SD3, Family.FLUX)
_SAME_NETWORK = MappingProxyType({Family.PLAYGROUND: Family.SDXL})  # denoisers made like those of another family
_WORDS: Mapping[Family, str] = MappingProxyType(
    {
        Family.SD1: "Stable Diffusion 1",
        Family.SD2: "Stable Diffusion 2",
        Family.SDXL: "SDXL",
        Family.SD3: "Stable Diffusion 3",
        Family.FLUX: "Flux.1",
    }
)


def refuse_other_family(model: ControlRef, family: Family) -> None:
    """Raise `BadFile` when it is known that a control file was made for checkpoints of another family."""
    if model.family is not None and model.family != _SAME_NETWORK.get(family, family):
        raise bad_control(
            model.name,
            f"it was made for {say(model.family)}, but the checkpoint is of the family {say(family)}",
            hint="Choose a control model of the checkpoint's family.",
        )


def refuse_uncontrolled(family: Family) -> None:
    """Raise `BadRequest` for checkpoints that no unit can guide."""
    if family not in (*UNETS, *TRANSFORMERS):
        raise BadRequest(
            f"ControlNet does not work with checkpoints of the family {say(family)}.",
            hint="Switch its units off, or use Stable Diffusion 1, 2 or 3, SDXL or Flux.1.",
            field=FIELD,
        )


def say(family: Family) -> str:
    """Return what users call a family."""
    return _WORDS.get(family, family.value.replace("_", " "))


def bad_control(name: str, reason: str, hint: str = "Choose another model for this unit.") -> BadFile:
    """Return the error that says what is wrong with a control file."""
    return BadFile(f"{name}: {reason}.", hint=hint, field=FIELD)
