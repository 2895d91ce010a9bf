"""Models made of models: take the work, tell how far it is, give it up."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from webui.domain.model_work import AskedWork, WorkView
from webui.studio import Studio


def add_model_work(router: APIRouter, studio: Studio) -> None:
    @router.post("/model-work", status_code=202)
    def begin(work: Annotated[AskedWork, Body()]) -> WorkView:
        """Convert, merge or quantise checkpoints, or extract a LoRA; sources are names of models, the target is a name
        without a folder. The work waits for that before it, and runs beside the jobs."""
        return studio.workshop.submit(work)

    @router.get("/model-work")
    def list_work() -> list[WorkView]:
        """Return the latest pieces of work and how far they are, the latest first."""
        return list(studio.workshop.views())

    @router.get("/model-work/{number}")
    def show_work(number: str) -> WorkView:
        """Return one piece of work."""
        return studio.workshop.view(number)

    @router.post("/model-work/{number}/cancel")
    def cancel(number: str) -> WorkView:
        """Give up a piece of work; nothing is left of it."""
        return studio.workshop.cancel(number)
