"""Units of ControlNet that are IP-Adapters: A1111's users and programs say them there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from extensions.ip_adapter.infotext import HASH
from extensions.ip_adapter.options import MAX_PICTURES, ImagePrompt, IpAdapterOptions
from extensions.ip_adapter.shapes import FIELD
from webui.extending.api import BadRequest, GenerationRequest, Kind, NotFound, Tools

CONTROLNET = "controlnet"
MODULE = "ip-adapter"
"""How the preprocessors of such units begin: ip-adapter_clip_sd15, ip-adapter-auto, …"""


def take_units(request: GenerationRequest, options: IpAdapterOptions, tools: Tools) -> GenerationRequest:
    """Return the request in which ControlNet's units that are IP-Adapters are pictures of this extension.

    Raises `BadRequest` for more of them than there may be, and for FaceID.
    """
    units = list(request.extensions.get(CONTROLNET, {}).get("units") or ())
    taken = {number: _to_picture(unit) for number, unit in enumerate(units) if _is_ours(unit, tools)}
    if not taken:
        return request
    pictures = (*options.pictures, *taken.values())
    if len(pictures) > MAX_PICTURES:
        raise BadRequest(
            f"There are {len(pictures)} pictures for IP-Adapters: at most {MAX_PICTURES}.",
            hint="Leave some out.",
            field=FIELD,
        )
    left = [{**unit, "enabled": False} if number in taken else unit for number, unit in enumerate(units)]
    asked = options.replace(pictures=pictures, combination=options.combination if options.pictures else "add")
    extensions = {
        **request.extensions,
        CONTROLNET: {**request.extensions[CONTROLNET], "units": left},
        "ip_adapter": asked.model_dump(mode="json"),
    }
    return request.replace(extensions=extensions)


def _is_ours(unit: object, tools: Tools) -> bool:
    if not isinstance(unit, Mapping) or not unit.get("enabled") or not unit.get("weight", 1.0):
        return False
    if str(unit.get("preprocessor") or "").lower().startswith(MODULE):
        return True
    if not unit.get("model"):
        return False
    try:
        return tools.find(Kind.CONTROLNET, HASH.sub("", str(unit["model"]))).kind is Kind.IP_ADAPTER
    except NotFound:
        return False  # ControlNet says so


def _to_picture(unit: Mapping[str, Any]) -> ImagePrompt:
    module = str(unit.get("preprocessor") or "").lower()
    if "face_id" in module or "faceid" in module:
        raise BadRequest(
            f"{module}: FaceID needs a face recogniser (InsightFace), which Easel has not.",
            hint="Use an IP-Adapter for pictures, such as plus-face.",
            field=FIELD,
        )
    return ImagePrompt(
        enabled=True,
        image=unit.get("image"),
        region=unit.get("region"),
        model=HASH.sub("", str(unit["model"])) if unit.get("model") else None,
        **{name: unit[name] for name in ("weight", "start", "end", "hires") if unit.get(name) is not None},
    )
