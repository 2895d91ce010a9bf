"""Every word that the panel shows is translated."""

from __future__ import annotations

import json
from pathlib import Path

from extensions.ip_adapter import extension
from extensions.ip_adapter.options import IpAdapterOptions
from webui.extending.api import ExtensionApi

FOLDER = Path(extension.__file__).parent


def test_every_word_of_the_panel_is_translated() -> None:
    api = ExtensionApi("ip_adapter", FOLDER)
    extension.register(api)
    assert api.panel is not None
    schema = IpAdapterOptions.model_json_schema()
    wanted = {api.panel.description}
    for model in (schema, *schema["$defs"].values()):
        for field in model.get("properties", {}).values():
            wanted |= {field[name] for name in ("title", "description", "item") if name in field}
            wanted |= set(field.get("labels", {}).values())
    assert wanted == json.loads((FOLDER / "localizations" / "de.json").read_text("utf-8")).keys()
