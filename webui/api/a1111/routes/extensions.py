"""A1111's list of extensions."""

from __future__ import annotations

from fastapi import APIRouter

from webui.api.a1111.routes.operation import operation
from webui.api.a1111.schemas.extensions import ExtensionItem
from webui.domain.extensions import ExtensionView
from webui.studio import Studio


def add_extensions(router: APIRouter, studio: Studio) -> None:
    @router.get(**operation("get_extensions_list extensions"), response_model=list[ExtensionItem])
    def list_extensions() -> list[ExtensionItem]:
        """Return the extensions that did not come with the program."""
        return [_to_item(view) for view in studio.installer.overview().extensions if not view.is_bundled]


def _to_item(view: ExtensionView) -> ExtensionItem:
    return ExtensionItem(
        name=view.folder,
        remote=view.source.address,
        branch=view.source.ref,
        commit_hash=view.source.commit,
        version=view.version or view.source.commit[:8],
        commit_date="",  # not fetched: only the files of the commit are
        enabled=view.is_enabled,
    )
