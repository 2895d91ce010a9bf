"""An extension that uses all that the page offers to extensions; it changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from PIL.Image import Image
from pydantic import Field

from webui.extending.api import (
    Data,
    ExtensionApi,
    GenerationRequest,
    Infotext,
    Kind,
    Networks,
    Panel,
    Plan,
    Preprocessor,
    Reference,
    SettingsSection,
    Tab,
    Tools,
)


class Edges(Data):
    low: Annotated[float, Field(ge=0, le=255, title="Low threshold")] = 100


class Tone(Data):
    warmth: Annotated[float, Field(ge=-1, le=1)] = 0.0


class Unit(Data):
    enabled: bool = False
    image: Annotated[Reference | None, Field(title="Picture", json_schema_extra={"picture": True, "span": 6})] = None
    mask: Annotated[
        Reference | None, Field(title="Mask", json_schema_extra={"picture": True, "mask_of": "image", "span": 6})
    ] = None
    preprocessor: Annotated[str, Field(json_schema_extra={"names": "preprocessor", "preview": "preprocessor"})] = (
        "frames_edges"
    )
    preprocessor_options: Annotated[Mapping[str, Any], Field(json_schema_extra={"options_of": "preprocessor"})] = {}
    weight: Annotated[float, Field(ge=0, le=2)] = 1.0
    mode: Annotated[
        Literal["balanced", "prompt"], Field(json_schema_extra={"labels": {"prompt": "The prompt first"}})
    ] = "balanced"


class Options(Data):
    enabled: bool = False
    width: Annotated[int, Field(ge=0, le=64, title="Width of the frame", description="In pixels.")] = 8
    style: Literal["plain", "carved"] = "plain"
    depth: Annotated[
        float | None,
        Field(ge=0, le=9, title="Depth of the carving", json_schema_extra={"shown_if": {"style": "carved"}}),
    ] = None
    words: Annotated[str, Field(max_length=200, json_schema_extra={"widget": "lines", "rare": True})] = ""
    tone: Tone = Tone()
    photos: Annotated[tuple[Reference, ...], Field(max_length=2, json_schema_extra={"picture": True})] = ()
    units: Annotated[tuple[Unit, ...], Field(max_length=3)] = ()
    programs: Annotated[int, Field(json_schema_extra={"hidden": True})] = 0


class Wishes(Data):
    frames_wood: Annotated[str, Field(title="Favourite wood", max_length=20)] = "oak"


def tell(plan: Plan, options: Options, tools: Tools) -> Plan:
    if not options.enabled:
        return plan
    written = {"Frame width": str(options.width), "Frame style": options.style}
    return plan.told("frames", options, infotext=written)


def read(parameters: Mapping[str, str]) -> dict[str, Any] | None:
    if "Frame width" not in parameters:
        return None
    return {"enabled": True, "width": int(parameters["Frame width"]), "style": parameters["Frame style"]}


def check(request: GenerationRequest, options: Options, tools: Tools) -> GenerationRequest:
    return request


def keep(image: Image, options: Edges) -> Image:
    return image


def register(api: ExtensionApi) -> None:
    api.add_options(Panel("Picture frames", Options, description="Hangs the picture in a frame."))
    api.change_request(check)
    api.change_plan(tell)
    api.add_infotext(Infotext(read, keys=("Frame width", "Frame style")))
    api.add_preprocessor(Preprocessor("frames_edges", "Edges", Edges, keep))
    api.add_preprocessor(Preprocessor("frames_plain", "Plain", Data, keep))
    api.add_networks(Networks(Kind.LORA, "LoRA", "<lora:{name}:1>"))
    api.add_settings(SettingsSection("Frames", Wishes))
    api.add_tab(Tab("frames", "Frames", api.folder / "html" / "page.html"))
