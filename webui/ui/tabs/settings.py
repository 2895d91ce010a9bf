"""The settings page, drawn by `static/settings.js` from the schema of `api/v2/settings`: no component per setting."""

from __future__ import annotations

from webui.ui.components import Factory


def build(make: Factory) -> None:
    make.mount("view")
