"""The PNG info page. Everything on it is drawn by `static/pnginfo.js` over `api/v2/png-info`."""

from __future__ import annotations

from webui.ui.components import Factory


def build(make: Factory) -> None:
    make.mount("view")
