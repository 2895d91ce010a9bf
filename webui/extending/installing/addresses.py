"""Which addresses may be fetched from, and by which names what was fetched may be called."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from webui.errors import BadRequest, EaselError
from webui.extending.bundled import BUNDLED
from webui.storage import check_name

HTTPS = ("https",)

_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")


def check_address(address: str, schemes: tuple[str, ...] = HTTPS) -> str:
    """Return the address without space around it; `BadRequest` unless its scheme is one of `schemes`.

    Addresses with passwords are refused too: they would end up in logs and in saved states.
    """
    address = address.strip()
    if address.startswith("-") or _CONTROL.search(address) or "\\" in address:
        raise BadRequest("The address has characters that addresses may not have.", field="address")
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadRequest(f"This is no address: {error}.", field="address") from error
    if parts.scheme.lower() not in schemes:
        shown = f"{parts.scheme}://" if "://" in address else address.partition(":")[0]
        raise BadRequest(
            f"Extensions are fetched by https only, not from {shown!r}.",
            hint="Use an address like https://github.com/name/repository.",
            field="address",
        )
    if parts.scheme.lower() == "https" and (not host or port == 0 or "%" in host or "$" in address):
        raise BadRequest(f"The address {address!r} names no host.", field="address")
    if parts.username or parts.password:
        raise BadRequest("The address must not hold a name or a password.", field="address")
    return address


def check_ref(ref: str) -> str:
    """Return the name of a branch, a tag or a commit; `BadRequest` for what git could take for anything else."""
    ref = ref.strip()
    if ref and (not _REF.fullmatch(ref) or ".." in ref or ref.endswith((".lock", "/", "."))):
        raise BadRequest(f"{ref!r} is not the name of a branch, a tag or a commit.", field="ref")
    return ref


def folder_name(wanted: str, address: str) -> str:
    """Return the name of the folder an extension goes into: `wanted`, or else the last part of its address.

    Raises `BadRequest` for names that lead elsewhere, that Windows reserves, or that the program itself uses.
    """
    name = wanted.strip() or _last_part(address)
    try:
        check_name(name)
    except EaselError as error:
        raise BadRequest(f"An extension cannot be called so: {error}", field="name") from error
    if len(name) > 100 or name.startswith((".", "_", "-")):
        raise BadRequest(f"An extension cannot be called {name[:40]!r}.", hint="Give it another name.", field="name")
    if name.lower() in BUNDLED:
        raise BadRequest(f"{name} comes with the program.", hint="Give yours another name.", field="name")
    return name


def _last_part(address: str) -> str:
    path = urlsplit(address).path if "://" in address else Path(address).as_posix()
    last = unquote(path.rstrip("/").rpartition("/")[2])
    for ending in (".git", ".zip"):
        last = last.removesuffix(ending)
    return last
