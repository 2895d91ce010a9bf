"""The log-in at the gate: a session cookie for browsers, Basic for programs, a form to get the cookie."""

from __future__ import annotations

import html
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope

from webui.api.access import SESSION_SECONDS, Accounts, GuessLimit, Sessions, read_basic

COOKIE = "easel_session"
API_AREAS = ("/sdapi/", "/api/", "/internal/")
MAX_FORM = 8192  # bytes


class Doorkeeper:
    """Lets everybody in when no account is configured, and only known users otherwise.

    The web UI's accounts open everything. The API's accounts open the API, and everything when the UI has none of its
    own: one password set must never leave another door open.
    """

    def __init__(self, ui_accounts: Accounts, api_accounts: Accounts) -> None:
        self._is_open = not ui_accounts and not api_accounts
        self._everywhere = ui_accounts or api_accounts
        self._api = ui_accounts + api_accounts
        self._sessions = Sessions()
        self._guesses = GuessLimit()

    async def answer(self, scope: Scope, receive: Receive) -> Response | None:
        """Return None to let the request through, else what to answer instead of it."""
        if self._is_open:
            return None
        if scope["type"] == "http" and scope["path"] in ("/login", "/logout"):
            return await self._log_in_or_out(Request(scope, receive))
        headers = Headers(scope=scope)
        if self._sessions.accept(_token(HTTPConnection(scope))):
            return None
        return self._check_basic(scope, headers)

    def _check_basic(self, scope: Scope, headers: Headers) -> Response | None:
        pair = read_basic(headers.get("authorization", ""))
        if pair is None:
            return _not_logged_in(scope, headers)
        address = _address(scope)
        if wait := self._guesses.seconds_to_wait(address):
            return _too_many(wait)
        accounts = self._api if scope["path"].startswith(API_AREAS) else self._everywhere
        if not accounts.accept(*pair):
            self._guesses.count_miss(address)
            return _not_logged_in(scope, headers, "Incorrect username or password")
        self._guesses.forget(address)
        return None

    async def _log_in_or_out(self, request: Request) -> Response:
        if request.url.path.endswith("/logout"):
            return self._log_out(request) if request.method == "POST" else _method_not_allowed("POST")
        if request.method in ("GET", "HEAD"):
            return _page(request.scope, 200)
        return await self._log_in(request) if request.method == "POST" else _method_not_allowed("GET, POST")

    async def _log_in(self, request: Request) -> Response:
        address = _address(request.scope)
        if wait := self._guesses.seconds_to_wait(address):
            return _too_many(wait)
        form = await _read_form(request)
        if form is None:
            return JSONResponse({"detail": "The log-in form is too long or not readable."}, 422)
        if not self._everywhere.accept(form.get("username", ""), form.get("password", "")):
            self._guesses.count_miss(address)
            return _page(request.scope, 401, "That name and password do not belong together.")
        self._guesses.forget(address)
        response = RedirectResponse(_root(request.scope) + "/", 303)
        response.set_cookie(
            COOKIE,
            self._sessions.open(),
            max_age=SESSION_SECONDS,
            path=_root(request.scope) + "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="lax",
        )
        return response

    def _log_out(self, request: Request) -> Response:
        self._sessions.close(_token(request))
        response = RedirectResponse(_root(request.scope) + "/login", 303)
        response.delete_cookie(COOKIE, path=_root(request.scope) + "/")
        return response


async def _read_form(request: Request) -> dict[str, str] | None:
    """Return the fields of a posted form; None when it is longer than any name and password, or no text."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM:
                return None
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=20)
    except (ClientDisconnect, ValueError):
        return None
    return {name: values[0] for name, values in fields.items()}


def _token(connection: HTTPConnection) -> str:
    return connection.cookies.get(COOKIE, "")


def _address(scope: Scope) -> str:
    return str((scope.get("client") or ("unknown",))[0])


def _root(scope: Scope) -> str:
    return str(scope.get("root_path", "")).rstrip("/")


def _not_logged_in(scope: Scope, headers: Headers, detail: str = "Not authenticated") -> Response:
    if "text/html" in headers.get("accept", ""):
        return _page(scope, 401)
    # A browser would answer the challenge with a dialog of its own in the middle of our page.
    is_browser = "sec-fetch-mode" in headers
    return JSONResponse({"detail": detail}, 401, None if is_browser else {"WWW-Authenticate": 'Basic realm="Easel"'})


def _too_many(wait: float) -> Response:
    seconds = int(wait) + 1
    detail = f"Too many wrong passwords. Try again in {seconds} s."
    return JSONResponse({"detail": detail}, 429, {"Retry-After": str(seconds)})


def _method_not_allowed(allowed: str) -> Response:
    return JSONResponse({"detail": "Method Not Allowed"}, 405, {"Allow": allowed})


def _page(scope: Scope, status: int, problem: str = "") -> Response:
    page = _PAGE.format(action=html.escape(_root(scope) + "/login"), problem=html.escape(problem))
    return HTMLResponse(page, status, {"Cache-Control": "no-store"})


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Easel: log in</title>
<style>
  :root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }}
  body {{ display: grid; place-items: center; min-height: 90vh; margin: 0 }}
  form {{ display: grid; gap: .75rem; width: min(20rem, 90vw) }}
  input, button {{ font: inherit; padding: .5rem; width: 100%; box-sizing: border-box }}
  p {{ color: #b3261e; margin: 0 }}
</style>
<form method="post" action="{action}">
  <h1>Easel</h1>
  <p role="alert">{problem}</p>
  <label>Name <input name="username" autocomplete="username" required autofocus></label>
  <label>Password <input name="password" type="password" autocomplete="current-password" required></label>
  <button>Log in</button>
</form>
</html>
"""
