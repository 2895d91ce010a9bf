"""Commands about models: look at the folders again, free the memory."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from webui.api.a1111.routes.operation import operation
from webui.studio import Studio

REFRESHING = ("refresh_checkpoints refresh-checkpoints", "refresh_vae refresh-vae", "refresh_loras refresh-loras",
              "refresh_embeddings refresh-embeddings")  # fmt: skip


def add_commands(router: APIRouter, studio: Studio) -> None:
    def refresh_models() -> None:
        """Look at the model folders again."""
        studio.refresh_models()

    for name in REFRESHING:
        router.add_api_route(**operation(name, "post"), endpoint=refresh_models, methods=["POST"])

    @router.post(**operation("unloadapi unload-checkpoint", "post"))
    def unload_model() -> dict[str, Any]:
        """Free the memory that models take up, when the running job is done. The next job loads what it needs."""
        studio.unload_models()
        return {}

    @router.post(**operation("reloadapi reload-checkpoint", "post"))
    def reload_model() -> dict[str, Any]:
        """Answer only: jobs load the model they need themselves."""
        return {}
