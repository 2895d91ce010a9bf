"""What is written into the infotext, under A1111's name where it has one, and how it is read back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from extensions.lora.metadata import hash_of
from extensions.lora.options import LoraFacts

HASHES, COMBINATION = "Lora hashes", "LoRA combination"
_COMBINATION = re.compile(r"(Merge|Switch|Composite)(?: \((\d{1,3})\))?")


def describe(facts: LoraFacts, *, several: bool) -> Mapping[str, str]:
    """Return the parameters of an image with these networks, of which a prompt names `several`."""
    hashes = {_plain(name): hash_of(file.path, file.sha256) for name, file in facts.networks.items()}
    written = {HASHES: ", ".join(f"{name}: {number}" for name, number in hashes.items())}
    if several and facts.combination == "Switch":
        written[COMBINATION] = f"Switch ({facts.switch_every})"
    elif several and facts.combination == "Composite":
        written[COMBINATION] = "Composite"
    return written


def _plain(name: str) -> str:
    """Return a name without what divides the entries (as A1111 does)."""
    return name.replace(":", "").replace(",", "")


def read(parameters: Mapping[str, str]) -> Mapping[str, Any] | None:
    """Return the options that an infotext tells; the networks themselves stand in its prompt."""
    match = _COMBINATION.fullmatch(parameters.get(COMBINATION, ""))
    if match is None:
        return None
    options: dict[str, Any] = {"combination": match[1]}
    if match[2] and 1 <= int(match[2]) <= 150:
        options["switch_every"] = int(match[2])
    return options
