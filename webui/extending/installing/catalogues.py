"""Reads lists of extensions in A1111's index format: {"extensions": [{name, url, description, added, tags}]}."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from webui.domain.extensions import MAX_ADDRESS, IndexEntry
from webui.errors import BadFile, BadRequest
from webui.extending.installing.downloads import Downloads

MAX_BYTES = 16 * 1024**2
MAX_ENTRIES = 10_000


def read_index(address: str, downloads: Downloads, installed: Iterable[str]) -> tuple[IndexEntry, ...]:
    """Return what an index lists, from an https address or a .json file of this machine.

    `installed` are the addresses of what is there already. Entries without a name or an https address are left out.
    Raises `BadRequest` or `BadFile`.
    """
    content = b"".join(downloads.fetch(address, MAX_BYTES)) if "://" in address else _read_file(address)
    try:
        listed = json.loads(content.decode("utf-8-sig"))["extensions"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadFile("This is no index of extensions.", hint='It must be {"extensions": […]}.') from error
    if not isinstance(listed, list) or len(listed) > MAX_ENTRIES:
        raise BadFile(f"Its extensions are not a list of at most {MAX_ENTRIES}.")
    known = {_plain(each) for each in installed}
    return tuple(entry for each in listed if (entry := _entry(each, known)) is not None)


def _entry(each: Any, known: set[str]) -> IndexEntry | None:
    if not isinstance(each, dict):
        return None
    name, address = each.get("name"), each.get("url")
    if not (isinstance(name, str) and isinstance(address, str)) or not name.strip() or len(address) > MAX_ADDRESS:
        return None
    if not address.lower().startswith("https://"):
        return None
    tags = each.get("tags")
    return IndexEntry(
        name=name.strip()[:200],
        address=address,
        description=str(each.get("description") or "")[:2000],
        added=str(each.get("added") or "")[:20],
        tags=tuple(str(tag)[:40] for tag in tags[:20]) if isinstance(tags, list) else (),
        is_installed=_plain(address) in known,
    )


def _plain(address: str) -> str:
    return address.lower().rstrip("/").removesuffix(".git")


def _read_file(address: str) -> bytes:
    path = Path(address.strip()).expanduser()
    if path.suffix.lower() != ".json" or not path.is_absolute():
        raise BadRequest(
            "An index is an https address, or the whole path of a .json file on this machine.", field="address"
        )
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror}.", field="address") from error
    if len(content) > MAX_BYTES:
        raise BadFile(f"{path} is larger than {MAX_BYTES // 1024**2} MB.")
    return content
