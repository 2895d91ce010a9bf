"""Settings, flags and what the machine has left."""

from __future__ import annotations

from typing import Annotated, Any

import psutil
from fastapi import APIRouter, Body

from webui.api.a1111.routes.operation import operation
from webui.api.a1111.schemas.state import Flags, MemoryResponse, Options
from webui.studio import Studio

READ_ONLY_OPTIONS = frozenset({"sd_checkpoint_hash"})
"""Facts that GET /options shows; clients post the whole object back, so these are passed over."""


def add_settings(router: APIRouter, studio: Studio) -> None:
    @router.get(**operation("get_config options"), response_model=Options)
    def show_options() -> Options:
        """Return all settings."""
        model = studio.current_model()
        options = {**studio.settings().by_alias(), **studio.extension_settings()}
        del options["extension_settings"]
        options["sd_model_checkpoint"] = model.title if model else None
        options["sd_checkpoint_hash"] = model.sha256 if model else None
        return Options(**options)

    @router.post(**operation("set_config options", "post"))
    def change_options(changes: Annotated[dict[str, Any], Body()]) -> None:
        """Change some settings, all or none of them. The whole object of GET is accepted."""
        wanted = {name: value for name, value in changes.items() if name not in READ_ONLY_OPTIONS}
        model = studio.current_model()
        if "sd_model_checkpoint" in wanted and wanted["sd_model_checkpoint"] in (None, model and model.title):
            del wanted["sd_model_checkpoint"]  # posted back as it was: no choice of the user's
        studio.change_settings(wanted)

    @router.get(**operation("get_cmd_flags cmd-flags"), response_model=Flags)
    def show_flags() -> Flags:
        """Return what the server was started with."""
        return Flags(**studio.config.flags)

    @router.get(**operation("get_memory memory"), response_model=MemoryResponse)
    def show_memory() -> MemoryResponse:
        """Return the memory in use, in bytes. The device belongs to the worker, which reports what it knows."""
        status = studio.status()
        machine = psutil.virtual_memory()
        ram = {"free": machine.available, "used": status.server_memory, "total": machine.total}
        return MemoryResponse(ram=ram, cuda=dict(status.worker_facts))
