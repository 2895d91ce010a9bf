"""The routes of sd-webui-controlnet's API: what models and preprocessors there are, and what a preprocessor makes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from extensions.controlnet.arguments import Place, read_numbers, store_picture
from extensions.controlnet.options import MAX_UNITS
from extensions.controlnet.preprocessors.catalog import find_preprocessor, known_preprocessors
from extensions.controlnet.preprocessors.files import require
from extensions.controlnet.preprocessors.weightless import WEIGHTLESS, AnyPreprocessor
from webui.extending.api import Call, Kind, ModelInfo, PreprocessRequest, Route, Tools

API_VERSION = 3  # of sd-webui-controlnet, whose fields these are
MAX_PICTURES = 100  # in one call of detect
NONE = "None"
KINDS = (Kind.CONTROLNET, Kind.T2I_ADAPTER)
IP_ADAPTER = "IP-Adapter"
IP_ADAPTER_MODULES = ("ip-adapter-auto", "ip-adapter_clip_h", "ip-adapter_clip_g", "ip-adapter_clip_sdxl_plus_vith")
"""Modules of units that the extension IP-Adapter takes over; it finds the image encoder by itself."""
ANYTHING = ("union",)  # parts of names of models that take every sort of control

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Canny": ("canny",),
        "Depth": ("depth",),
        "NormalMap": ("normal",),
        "OpenPose": ("openpose", "pose"),
        "MLSD": ("mlsd", "straight"),
        "Lineart": ("lineart",),
        "SoftEdge": ("softedge", "hed", "pidi"),
        "Scribble": ("scribble", "sketch"),
        "Segmentation": ("seg",),
        "Shuffle": ("shuffle",),
        "Tile": ("tile", "blur"),
        "Blur": ("blur", "tile"),
        "Inpaint": ("inpaint",),
        "Recolor": ("recolor",),
        "Reference": (),
        "T2I-Adapter": ("t2i", "adapter"),
    }
)
"""Control types, and the parts of names by which people tell their models."""


def tell_version(call: Call) -> Any:
    return {"version": API_VERSION}


def list_models(call: Call) -> Any:
    """`update` is not looked at: the list is always as the folders are."""
    return {"model_list": [*_models(call.tools), *_models(call.tools, (Kind.IP_ADAPTER,))[1:]]}


def list_modules(call: Call) -> Any:
    """With `alias_names` modules are called as on the page."""
    with_labels = call.query.get("alias_names", "").lower() in ("true", "1", "yes", "on")
    names = {_name(each, with_labels): each for each in known_preprocessors(call.tools.preprocessors())}
    details = {name: _describe(each) for name, each in names.items()}
    details |= {name: {"model_free": False, "sliders": []} for name in IP_ADAPTER_MODULES}
    return {"module_list": list(details), "module_detail": details}


def list_control_types(call: Call) -> Any:
    models, adapters = _models(call.tools), _models(call.tools, (Kind.IP_ADAPTER,))
    known = known_preprocessors(call.tools.preprocessors())
    everything = {
        "module_list": [*(each.label for each in known), *IP_ADAPTER_MODULES],
        "model_list": [*models, *adapters[1:]],
        "default_option": "none",
        "default_model": NONE,
    }
    pictures = {
        "module_list": ["none", *IP_ADAPTER_MODULES],
        "model_list": adapters,
        "default_option": IP_ADAPTER_MODULES[0],
        "default_model": adapters[1] if len(adapters) > 1 else NONE,
    }
    groups = {group: _describe_group(group, models, known) for group in GROUPS}
    return {"control_types": {"All": everything, **groups, IP_ADAPTER: pictures}}


def tell_settings(call: Call) -> Any:
    return {"control_net_unit_count": MAX_UNITS}


def detect(call: Call) -> Any:
    """Return what a preprocessor makes of pictures; each is a job in the queue.

    The clients' older name `controlnet_images` is taken too. Raises `BadRequest` and `NotFound` naming the field.
    """
    place = Place("ControlNet's detect")
    if not isinstance(call.body, Mapping):
        raise place.wrong("", "send a JSON object")
    wanted = str(call.body.get("controlnet_module") or "none")
    preprocessor = find_preprocessor(wanted, "controlnet_module", call.tools.preprocessors())
    require(preprocessor.name, field="controlnet_module")
    pictures = call.body.get("controlnet_input_images") or call.body.get("controlnet_images")
    if not isinstance(pictures, list) or not 1 <= len(pictures) <= MAX_PICTURES:
        raise place.wrong("controlnet_input_images", f"must be a list of 1 to {MAX_PICTURES} pictures in base64")
    if call.body.get("controlnet_masks") and "Inpaint" not in preprocessor.groups:
        raise place.wrong("controlnet_masks", f"{preprocessor.name} takes no masks", "Leave them out.")
    numbers = {name: call.body.get(f"controlnet_{name}") for name in ("processor_res", "threshold_a", "threshold_b")}
    options = read_numbers(numbers, preprocessor, place)
    stored = [store_picture("controlnet_input_images", each, call.tools, place) for each in pictures]
    made = []
    for reference in stored:
        files = call.run(PreprocessRequest(image=reference, preprocessor=preprocessor.name, options=options))
        made += [base64.b64encode(file).decode() for file in files]
    return {"images": made, "info": "Success"}


def _name(preprocessor: AnyPreprocessor, with_labels: bool) -> str:
    return preprocessor.label if with_labels else preprocessor.name


def _models(tools: Tools, kinds: Sequence[Kind] = KINDS) -> list[str]:
    """Return what units may name: `None`, and each model with the beginning of its hash as far as that is known."""
    return [NONE, *(_title(each) for each in tools.models(Kind.CONTROLNET) if each.kind in kinds and not each.problem)]


def _title(model: ModelInfo) -> str:
    return f"{model.name} [{model.sha256[:8]}]" if model.sha256 else model.name


def _describe(preprocessor: AnyPreprocessor) -> dict[str, Any]:
    """Return whether it needs no network, and its numbers in A1111's order; one that it lacks before others is null."""
    fields = preprocessor.options.model_json_schema().get("properties", {})
    sliders = [_slider(fields.get(name, {})) for name in ("resolution", "threshold_a", "threshold_b")]
    while sliders and sliders[-1] is None:
        sliders.pop()
    return {"model_free": preprocessor in WEIGHTLESS, "sliders": sliders}


def _slider(field: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a number with its limits in A1111's words; None where it has none."""
    if not {"minimum", "maximum", "step"} <= field.keys():
        return None
    return {
        "name": field["title"],
        "value": field["default"],
        "min": field["minimum"],
        "max": field["maximum"],
        "step": field["step"],
    }


def _describe_group(group: str, models: list[str], known: Sequence[AnyPreprocessor]) -> dict[str, Any]:
    modules = [each.label for each in known if each.name == "none" or group in each.groups]
    words = (*GROUPS[group], *ANYTHING) if GROUPS[group] else ()
    fitting = [NONE, *(model for model in models[1:] if any(word in model.lower() for word in words))]
    return {
        "module_list": modules,
        "model_list": fitting if len(fitting) > 1 or not words else models,  # none by name: it may be any of them
        "default_option": modules[1],
        "default_model": fitting[1] if len(fitting) > 1 else NONE,
    }


ROUTES = (
    Route("GET", "/controlnet/version", tell_version, "The version of sd-webui-controlnet's API that this is."),
    Route("GET", "/controlnet/model_list", list_models, "The models that units can use."),
    Route("GET", "/controlnet/module_list", list_modules, "The preprocessors and their numbers."),
    Route("GET", "/controlnet/control_types", list_control_types, "Preprocessors and models by sort of control."),
    Route("GET", "/controlnet/settings", tell_settings, "How many units there are."),
    Route("POST", "/controlnet/detect", detect, "What a preprocessor makes of pictures."),
)
