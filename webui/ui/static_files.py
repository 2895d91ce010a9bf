"""Serves our own scripts and styles: only the files listed at start, cached for ever under the digest of them all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

FOLDER = Path(__file__).parent / "static"
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class StaticFiles:
    """An ASGI application answering `/<digest>/<name>`. A page of an older version still gets the newest files."""

    contents: dict[str, bytes]
    digest: str

    @classmethod
    def load(cls, folder: Path = FOLDER) -> StaticFiles:
        contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in MEDIA_TYPES}
        digest = hashlib.sha256(b"".join(name.encode() + contents[name] for name in contents)).hexdigest()[:12]
        return cls(contents, digest)

    def url(self, name: str) -> str:
        """Return the address of a file, relative to the page."""
        if name not in self.contents:
            raise KeyError(name)
        return f"easel/static/{self.digest}/{name}"

    def path(self, name: str) -> Path:
        return FOLDER / name

    def names(self, suffix: str) -> tuple[str, ...]:
        return tuple(name for name in self.contents if name.endswith(suffix))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        response = self._respond(scope["method"], scope["path"][len(scope.get("root_path", "")) :])
        await response(scope, receive, send)

    def _respond(self, method: str, path: str) -> Response:
        if method not in ("GET", "HEAD"):
            return Response(status_code=405, headers={"Allow": "GET, HEAD"})
        digest, _, name = path.strip("/").partition("/")
        content = self.contents.get(name)
        if content is None:
            return Response("Not found", status_code=404, media_type="text/plain")
        lasting = "public, max-age=31536000, immutable" if digest == self.digest else "no-cache"
        return Response(
            content,
            media_type=MEDIA_TYPES[Path(name).suffix],
            headers={"Cache-Control": lasting, "X-Content-Type-Options": "nosniff"},
        )
