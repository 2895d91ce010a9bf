"""Fetches a file by https: the one place of the program that calls another machine, and only when the user asks."""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any

from webui import __version__
from webui.errors import BadRequest
from webui.extending.installing.addresses import HTTPS, check_address

CHUNK = 256 * 1024
SILENCE = 30.0  # seconds without a byte


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Goes where it is sent to by https only."""

    max_redirections = 5

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Downloads:
    """What fetches. `context`: which certificates are trusted; None: those of the system."""

    seconds: float = 600.0
    context: ssl.SSLContext | None = None

    def fetch(self, address: str, most: int) -> Iterator[bytes]:
        """Yield the content at an address; `BadRequest` when it cannot be had, or is more than `most` bytes."""
        deadline = time.monotonic() + self.seconds
        try:
            with self._open(check_address(address, HTTPS)) as answer:
                yield from _read(answer, most, deadline)
        except urllib.error.HTTPError as error:
            raise BadRequest(f"{address} answers {error.code} {error.reason}.", hint="Check the address.") from error
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise BadRequest(
                f"{address} cannot be fetched: {reason}.", hint="Check the address and the connection."
            ) from error

    def _open(self, address: str) -> Any:
        opener = urllib.request.OpenerDirector()  # not build_opener: that one speaks file:, ftp: and http: too
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPSHandler(context=self.context),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
            _SafeRedirects(),
        ):
            opener.add_handler(handler)
        request = urllib.request.Request(address, headers={"User-Agent": f"Easel/{__version__}"})
        return opener.open(request, timeout=SILENCE)


def _read(answer: Any, most: int, deadline: float) -> Iterator[bytes]:
    total = 0
    while chunk := answer.read(CHUNK):
        total += len(chunk)
        if total > most:
            raise BadRequest(f"It is larger than {most // 1024**2} MB, so fetching it was given up.")
        if time.monotonic() > deadline:
            raise BadRequest("It took too long, so fetching it was given up.")
        yield chunk
