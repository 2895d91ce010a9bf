"""Extensions: what there is, fetching, looking, accepting, updating, switching, removing, saved states, restarting.

What changes anything is refused (403) where the server answers others than this machine; `Installer` decides that.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Body, Query
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from webui.domain.extensions import (
    MAX_ADDRESS,
    AskedInstall,
    ExtensionList,
    ExtensionView,
    IndexEntry,
    Inspection,
    SavedState,
)
from webui.domain.frozen import Data
from webui.studio import Studio

Action = Literal["enable", "disable", "roll-back", "try-again"]


class Removed(Data):
    """`place`: where the files are now."""

    place: str


class Restored(Data):
    """What of a saved state could not be brought back."""

    problems: tuple[str, ...]


class Update(Data):
    """What is new, waiting to be accepted; None when nothing is."""

    waiting: Inspection | None


class AskedIndex(Data):
    address: Annotated[str, Field(min_length=1, max_length=MAX_ADDRESS)]


class AskedState(Data):
    name: Annotated[str, Field(min_length=1, max_length=100)]


def add_extensions_admin(router: APIRouter, studio: Studio) -> None:
    _add_list(router, studio)
    _add_installing(router, studio)
    _add_changing(router, studio)
    _add_states(router, studio)


def _add_list(router: APIRouter, studio: Studio) -> None:
    @router.get("/extensions")
    def list_extensions() -> ExtensionList:
        """Return all extensions, what waits to be accepted, and saved states."""
        return studio.installer.overview().replace(can_restart=studio.can_restart)

    @router.post("/extensions/index")
    def read_index(asked: Annotated[AskedIndex, Body()]) -> list[IndexEntry]:
        """Return what an index in A1111's format lists; it is fetched by https, or read from a file of this machine."""
        return list(studio.installer.read_index(asked.address))

    @router.post("/restart", status_code=202)
    def restart() -> None:
        """Start the server anew; a running job is taken up again afterwards."""
        studio.restart()


def _add_installing(router: APIRouter, studio: Studio) -> None:
    @router.post("/extensions/fetch", status_code=201)
    def fetch(asked: Annotated[AskedInstall, Body()]) -> Inspection:
        """Fetch an extension and return what it is. Nothing of it is run or installed before it is accepted."""
        return studio.installer.fetch(asked)

    @router.post("/extensions/upload", status_code=201)
    async def upload(request: Request, name: Annotated[str, Query(max_length=200)]) -> Inspection:
        """Do the same with a zip, which is the body; `name` is its file name."""
        content = await request.body()
        return await run_in_threadpool(studio.installer.fetch_zip, [content], name)

    @router.post("/extensions/waiting/{number}/accept")
    def accept(number: str) -> ExtensionView:
        """Install what was fetched, and try it in a process of its own."""
        return studio.installer.accept(number)

    @router.post("/extensions/waiting/{number}/reject", status_code=204)
    def reject(number: str) -> None:
        """Forget what was fetched."""
        studio.installer.reject(number)


def _add_changing(router: APIRouter, studio: Studio) -> None:
    @router.post("/extensions/installed/{folder}/update")
    def look_for_update(folder: str) -> Update:
        """Fetch what is new for an extension."""
        return Update(waiting=studio.installer.look_for_update(folder))

    @router.post("/extensions/installed/{folder}/remove")
    def remove(folder: str) -> Removed:
        """Move an extension into the trash."""
        return Removed(place=str(studio.installer.remove(folder)))

    @router.post("/extensions/installed/{folder}/{action}")
    def change(folder: str, action: Action) -> ExtensionView:
        """Switch an extension on or off, go back to the version before, or try again one that failed."""
        installer = studio.installer
        match action:
            case "roll-back":
                return installer.roll_back(folder)
            case "try-again":
                return installer.try_again(folder)
            case _:
                return installer.enable(folder, action == "enable")


def _add_states(router: APIRouter, studio: Studio) -> None:
    @router.post("/extensions/states", status_code=201)
    def save_state(asked: Annotated[AskedState, Body()]) -> SavedState:
        """Save which extensions there are, in which versions, and which are on."""
        return studio.installer.save_state(asked.name)

    @router.post("/extensions/states/{name}/restore")
    def restore_state(name: str) -> Restored:
        """Switch everything as it was; what is missing is fetched and waits to be accepted."""
        return Restored(problems=studio.installer.restore_state(name))

    @router.post("/extensions/states/{name}/delete", status_code=204)
    def delete_state(name: str) -> None:
        """Forget a saved state."""
        studio.installer.delete_state(name)
