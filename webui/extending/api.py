"""All an extension may do. Extensions import this module and nothing else of the program."""

from __future__ import annotations

from webui.domain.frozen import Data
from webui.domain.passes import GuidanceOptions, Hires, Refiner
from webui.domain.plan import SheetPlan
from webui.domain.request import MAX_IMAGES, GenerationRequest
from webui.domain.sampling import SAMPLERS, find_sampler, find_schedule, split_combined
from webui.domain.sampling_options import MAX_SEED, SamplingOptions, Variation
from webui.domain.start import FromExtendedImage, FromImage, FromMaskedImage, FromNoise, FromTiles, Reference
from webui.errors import BadRequest
from webui.extending.scripts import AnyScript, Expansion, NameKind, Page, Script, Tools, images_of, page_of

VERSION = 1

__all__ = [
    "MAX_IMAGES",
    "MAX_SEED",
    "SAMPLERS",
    "VERSION",
    "BadRequest",
    "Data",
    "Expansion",
    "ExtensionApi",
    "FromExtendedImage",
    "FromImage",
    "FromMaskedImage",
    "FromNoise",
    "FromTiles",
    "GenerationRequest",
    "GuidanceOptions",
    "Hires",
    "NameKind",
    "Page",
    "Reference",
    "Refiner",
    "SamplingOptions",
    "Script",
    "SheetPlan",
    "Tools",
    "Variation",
    "find_sampler",
    "find_schedule",
    "images_of",
    "page_of",
    "split_combined",
]


class ExtensionApi:
    """Handed to an extension's `register`. What it adds counts once `register` has returned."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._scripts: list[AnyScript] = []

    def add_script(self, script: AnyScript) -> None:
        """Offer `script` on the pages it is for, and to programs by its name and aliases."""
        self._scripts.append(script)

    @property
    def scripts(self) -> tuple[AnyScript, ...]:
        """What was added so far, in this order."""
        return tuple(self._scripts)
