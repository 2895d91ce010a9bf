"""The files of extensions that browsers may have: scripts, styles, translations, and the folders of tabs' pages."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from webui.extending.offers import Tab

if TYPE_CHECKING:
    from webui.extending.api import ExtensionApi
    from webui.extending.loader import Extension

ROUTE = "extensions"
"""Below this path of the site lie the files."""
FOLDERS = ("javascript", "html", "web", "localizations", "tags")
"""Folders of an extension whose files browsers may have, besides those of its tabs' pages."""
MEDIA_TYPES: Mapping[str, str] = {
    ".css": "text/css",
    ".csv": "text/csv",
    ".gif": "image/gif",
    ".html": "text/html",
    ".ico": "image/vnd.microsoft.icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".mp3": "audio/mpeg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
MAX_SIZE = 64 * 1024 * 1024  # bytes of a file
_LOCALE = re.compile(r"^[A-Za-z]{2,3}([-_][A-Za-z]{2,4})?$")


@dataclass(frozen=True)
class Asset:
    """A file as it is sent."""

    content: bytes
    media_type: str

    @property
    def tag(self) -> str:
        return hashlib.sha256(self.content).hexdigest()[:16]


@dataclass(frozen=True)
class Assets:
    """What browsers may have of these extensions. Addresses are relative to the site."""

    extensions: tuple[Extension, ...] = ()

    def scripts(self) -> tuple[str, ...]:
        """Return the addresses of all scripts in A1111's `javascript/`, extension by extension."""
        return tuple(_versioned(each, path) for each in self.extensions for path in each.javascript)

    def styles(self) -> tuple[str, ...]:
        """Return the addresses of all `style.css`."""
        return tuple(_versioned(each, path) for each in self.extensions for path in each.styles)

    def translations(self) -> dict[str, dict[str, str]]:
        """Return locale → English text → translation of all `localizations/`; what is no such file says nothing.

        `zh_TW.json`, as A1111 names them, is `zh-TW`, and stands for `zh` as far as nothing else does.
        """
        found: dict[str, dict[str, str]] = {}
        for path in (path for each in self.extensions for path in each.localizations):
            if not _LOCALE.match(path.stem):
                continue
            language, *region = re.split("[-_]", path.stem)
            words = _read_words(path)
            found.setdefault("-".join([language.lower(), *region]), {}).update(words)
            if region:
                found[language.lower()] = {**words, **found.get(language.lower(), {})}
        return found

    def read(self, name: str, path: str) -> Asset | None:
        """Return the file `path` of the extension `name` (or of that folder); None unless browsers may have it.

        It must lie in the extension's folder, whatever links there are, in one of the folders for it, and be of a sort
        that pages are made of. Nothing whose name begins with a dot is given away.
        """
        extension = next((each for each in self.extensions if name in (each.name, each.folder.name)), None)
        wanted = PurePosixPath(path)
        media_type = MEDIA_TYPES.get(wanted.suffix.lower())
        if extension is None or media_type is None or "\\" in path or "\0" in path or wanted.is_absolute():
            return None
        if any(part == ".." or part.startswith(".") for part in wanted.parts) or not _is_offered(extension, wanted):
            return None
        root = extension.folder.resolve()
        file = (root / wanted).resolve()
        if not file.is_relative_to(root) or not file.is_file() or file.stat().st_size > MAX_SIZE:
            return None
        return Asset(file.read_bytes(), media_type)


def page_address(api: ExtensionApi, tab: Tab) -> str:
    """Return the address of a tab's page, relative to the site."""
    return _address(api.name, tab.page.resolve().relative_to(api.folder.resolve()))


def _read_words(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    pairs = content.items() if isinstance(content, dict) else ()
    return {key: text for key, text in pairs if isinstance(text, str)}


def _is_offered(extension: Extension, path: PurePosixPath) -> bool:
    if path == PurePosixPath("style.css") or (len(path.parts) > 1 and path.parts[0] in FOLDERS):
        return True
    pages = [tab.page.resolve() for tab in extension.api.tabs] if extension.api else []
    root = extension.folder.resolve()
    homes = [page.parent for page in pages if page.parent != root]
    return root / path in pages or any((root / path).is_relative_to(home) for home in homes)


def _address(name: str, path: Path) -> str:
    return f"{ROUTE}/{name}/{path.as_posix()}"


def _versioned(extension: Extension, path: Path) -> str:
    """Return an address that changes with the file, so that a browser never keeps an old one."""
    changed = path.stat().st_mtime_ns if path.is_file() else 0
    return f"{_address(extension.name, path.resolve().relative_to(extension.folder.resolve()))}?{changed:x}"
