"""The Extras page. Everything on it is drawn by `static/extras.js` over `api/v2/jobs`."""

from __future__ import annotations

from webui.ui.components import Factory


def build(make: Factory) -> None:
    make.mount("view")
