"""Pictures in the infotext: `IP-Adapter 0: "Model: … [hash], Weight: 0.8, …"`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from extensions.ip_adapter.options import MAX_PICTURES, Combination, ImagePrompt
from webui.extending.api import Infotext

PREFIX = "IP-Adapter "
HASH = re.compile(r"\s*\[[0-9a-fA-F]{6,64}\]\s*$")
"""What programs write behind the name of a model."""
_ITEM = re.compile(r"\s*([A-Z][a-z ]*): ([^,]*)(?:,|$)")
_NUMBERED = re.compile(rf"{PREFIX}(\d)")


def write(number: int, asked: ImagePrompt, name: str, sha256: str | None, combination: Combination) -> dict[str, str]:
    """Return the parameter that says what a picture did; the picture itself is not in an infotext."""
    said: dict[str, object] = {
        "Model": f"{name.replace(',', ' ')} [{sha256[:8]}]" if sha256 else name.replace(",", " "),
        "Weight": f"{asked.weight:g}",
        "Start": f"{asked.start:g}",
        "End": f"{asked.end:g}",
        "Combination": combination,
        **({} if asked.hires == "both" else {"Hires": asked.hires}),
    }
    return {f"{PREFIX}{number}": ", ".join(f"{key}: {value}" for key, value in said.items())}


def read(parameters: Mapping[str, str]) -> Mapping[str, Any] | None:
    """Return the options that an infotext tells, None where it tells none. A picture has to be chosen again."""
    pictures: dict[int, ImagePrompt] = {}
    combination: str | None = None
    for key, text in parameters.items():
        found = _NUMBERED.fullmatch(key.strip())
        if found is None or int(found[1]) >= MAX_PICTURES:
            continue
        said = {name.strip().lower(): value.strip() for name, value in _ITEM.findall(text)}
        combination = said.get("combination", combination)
        pictures[int(found[1])] = _read(said)
    if not pictures:
        return None
    listed = [pictures.get(number, ImagePrompt()).model_dump(mode="json") for number in range(max(pictures) + 1)]
    known = combination in ("concat", "average", "add")
    return {"pictures": listed, **({"combination": combination} if known else {})}


def _read(said: Mapping[str, str]) -> ImagePrompt:
    fields = {"model": HASH.sub("", said.get("model", "")) or None}
    fields |= {name: said[name] for name in ("weight", "start", "end", "hires") if name in said}
    try:
        return ImagePrompt.model_validate({"enabled": True, **fields})
    except ValidationError:
        return ImagePrompt(enabled=True, model=fields["model"])


INFOTEXT = Infotext(read=read, prefixes=(PREFIX,))
