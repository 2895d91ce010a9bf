"""The Extensions page. Everything on it is drawn by `static/extensions.js` over `api/v2/extensions`."""

from __future__ import annotations

from webui.ui.components import Factory


def build(make: Factory) -> None:
    make.mount("view")
