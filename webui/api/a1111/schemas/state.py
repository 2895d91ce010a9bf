"""Progress, settings, flags and memory."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from webui.api.a1111.schemas.incoming import Incoming


class ProgressResponse(BaseModel):
    progress: float = Field(description="0 to 1; 0 when idle.")
    eta_relative: float = Field(description="Seconds to go.")
    state: dict[str, Any]
    current_image: str | None = Field(default=None, description="The newest live preview in base64 format.")
    textinfo: str | None = None


class MemoryResponse(BaseModel):
    ram: dict[str, Any]
    cuda: dict[str, Any]


class Options(BaseModel):
    """All settings under A1111's option names."""

    model_config = ConfigDict(extra="allow")

    sd_model_checkpoint: str | None = None
    sd_checkpoint_hash: str | None = None


class Flags(BaseModel):
    """What the server was started with; passwords are struck out."""

    model_config = ConfigDict(extra="allow")


class InternalProgressRequest(Incoming):
    id_task: str | None = None
    id_live_preview: int = -1
    live_preview: bool = True


class InternalProgressResponse(BaseModel):
    active: bool
    queued: bool
    completed: bool
    progress: float | None = None
    eta: float | None = None
    live_preview: str | None = None
    id_live_preview: int | None = None
    textinfo: str | None = None
