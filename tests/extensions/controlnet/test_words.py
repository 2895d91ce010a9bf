"""Every word that the panel shows is translated."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from extensions.controlnet import extension
from extensions.controlnet.options import ControlOptions
from extensions.controlnet.preprocessors.catalog import PREPROCESSORS
from webui.extending.api import ExtensionApi

FOLDER = Path(extension.__file__).parent / "localizations"


def words_of(schema: Mapping[str, Any]) -> Iterator[str]:
    for model in (schema, *schema.get("$defs", {}).values()):
        for field in model.get("properties", {}).values():
            yield from (field[name] for name in ("title", "description", "item") if name in field)
            yield from field.get("labels", {}).values()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_every_word_of_the_panel_is_translated(path: Path) -> None:
    api = ExtensionApi("controlnet", FOLDER.parent)
    extension.register(api)
    assert api.panel is not None
    wanted = {api.panel.description, *words_of(ControlOptions.model_json_schema())}
    wanted |= {word for each in PREPROCESSORS for word in words_of(each.options.model_json_schema())}
    wanted |= {each.description for each in PREPROCESSORS if each.description}
    translated = json.loads(path.read_text("utf-8"))
    assert wanted == translated.keys()


def test_values_with_labels_are_those_there_are() -> None:
    fields = ControlOptions.model_json_schema()["$defs"]["Unit"]["properties"]
    for name in ("control_mode", "resize_mode", "hires", "union_type"):
        choices = fields[name].get("enum") or fields[name]["anyOf"][0]["enum"]
        assert list(choices) == [value for value in choices if value in fields[name]["labels"]]
        assert len(choices) == len(fields[name]["labels"])
