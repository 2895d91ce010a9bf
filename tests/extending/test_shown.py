"""What the page is told of extensions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from webui.domain.models import Kind
from webui.extending.api import Data, ExtensionApi, Networks, Panel, Preprocessor, SettingsSection
from webui.extending.shown import show_extensions, show_settings


class Unit(Data):
    model: Annotated[str, Field(json_schema_extra={"names": "controlnet"})] = ""


class Options(Data):
    units: tuple[Unit, ...] = ()


class Wishes(Data):
    wood: str = "oak"


def register() -> ExtensionApi:
    api = ExtensionApi("one")
    api.add_options(Panel("One", Options, pages=("img2img",), description="It is one."))
    api.add_preprocessor(Preprocessor("edges", "Edges", Data, lambda image, options: image, groups=("lines",)))
    api.add_networks(Networks(Kind.LORA, "LoRA", "<lora:{name}:1>"))
    api.add_settings(SettingsSection("Wishes", Wishes))
    return api


def names(kind: str) -> list[str]:
    return [f"a {kind}", f"another {kind}"]


def test_panels_have_schemas_with_names_down_to_their_units() -> None:
    shown = show_extensions([register(), ExtensionApi("silent")], names)
    (panel,) = shown.panels
    assert (panel.name, panel.title, panel.pages, panel.description) == ("one", "One", ("img2img",), "It is one.")
    assert panel.options["$defs"]["Unit"]["properties"]["model"]["choices"] == ["a controlnet", "another controlnet"]
    assert [(each.name, each.label, each.groups) for each in shown.preprocessors] == [("edges", "Edges", ("lines",))]
    assert [(each.kind, each.tag) for each in shown.networks] == [(Kind.LORA, "<lora:{name}:1>")]


def test_settings_come_with_their_values() -> None:
    (section,) = show_settings([register(), ExtensionApi("silent")], names, {"wood": "pine", "other": 1})
    assert (section.name, section.title, section.values) == ("one", "Wishes", {"wood": "pine"})
    assert section.options["properties"]["wood"]["default"] == "oak"
