"""Paths and operation ids as A1111 generates them."""

from __future__ import annotations

from typing import Any


def operation(name: str, method: str = "get", area: str = "sdapi_v1") -> dict[str, Any]:
    """Return path and operation id of "function route": `text2imgapi_sdapi_v1_txt2img_post`."""
    function, _, route = name.partition(" ")
    path = f"/{area.replace('_', '/')}/{route}"
    return {"path": path, "operation_id": f"{function}_{area}_{route.replace('-', '_')}_{method}"}
