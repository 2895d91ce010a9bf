"""The Models page. Everything on it is drawn by `static/models.js` over `api/v2/models` and `api/v2/model-work`."""

from __future__ import annotations

from webui.ui.components import Factory


def build(make: Factory) -> None:
    make.mount("view")
