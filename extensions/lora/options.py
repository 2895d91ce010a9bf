"""What the extension can be told, and what it tells the worker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from webui.extending.api import Data

Combination = Literal["Merge", "Switch", "Composite"]


class LoraOptions(Data):
    """How several LoRAs of one prompt act together (Zhong et al. 2024, arXiv:2402.16843)."""

    combination: Annotated[
        Combination,
        Field(
            title="Several LoRAs",
            description="Merge: all at once. Switch: one after the other, a few steps each. Composite: the mean of "
            "what each alone would paint (slow: as many times as there are LoRAs).",
        ),
    ] = "Merge"
    switch_every: Annotated[
        int, Field(ge=1, le=150, title="Steps each", description="Of Switch: how many steps a LoRA has its turn.")
    ] = 5


class LoraSettings(Data):
    """A1111's settings."""

    sd_lora: Annotated[str, Field(title="Add network to prompt", description="The name of a LoRA; None: none.")] = (
        "None"
    )
    extra_networks_default_multiplier: Annotated[
        float, Field(ge=-10, le=10, title="Strength of networks that are added to the prompt")
    ] = 1.0


class NetworkFile(Data):
    """The exact file that a name in a prompt stands for."""

    name: str
    path: Path
    sha256: str
    family: str | None  # the family it was made for, as far as that is known


class LoraFacts(Data):
    """What the worker needs: the files by the names in the prompts, and how several act together."""

    networks: Mapping[str, NetworkFile]
    combination: Combination = "Merge"
    switch_every: int = 5
