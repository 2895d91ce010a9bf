"""Reading Host and Origin headers, and the names this server answers to."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass

_NAME = re.compile(r"[a-z0-9]([a-z0-9_.-]*[a-z0-9])?\.?")
_HOST = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^:@/?#\[\]\s]+)(:(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Authority:
    """A host with its port; None: the scheme's default. IPv6 addresses come without brackets."""

    host: str
    port: int | None


@dataclass(frozen=True)
class Origin:
    scheme: str
    host: str
    port: int


def read_authority(text: str) -> Authority | None:
    """Return the parts of a Host header; None when it cannot be one."""
    match = _HOST.fullmatch(text.lower())
    if match is None:
        return None
    host = match["host"].removeprefix("[").removesuffix("]")
    if match["host"].startswith("["):
        if not isinstance(read_address(host), ipaddress.IPv6Address):
            return None
    elif _NAME.fullmatch(host) is None:
        return None
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port < 65536:
        return None
    return Authority(host.removesuffix("."), port)


def read_origin(text: str) -> Origin | None:
    """Return the parts of an Origin header; None for `null` and everything else that is not scheme://host[:port]."""
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    authority = read_authority(rest)
    if not separator or authority is None or scheme not in _DEFAULT_PORTS:
        return None
    return Origin(scheme, authority.host, authority.port or _DEFAULT_PORTS[scheme])


def is_same_origin(origin: Origin, server: Authority) -> bool:
    """Return whether a page of `origin` was served under the request's own Host.

    The scheme is the browser's word: behind a proxy that ends TLS the server itself sees plain HTTP.
    """
    return origin.host == server.host and origin.port == (server.port or _DEFAULT_PORTS[origin.scheme])


def read_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return `host` as an address; None when it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class HostList:
    """The Host names this server answers to.

    A page that rebinds its own name to this machine still sends that name, so unknown names are refused. Addresses
    cannot be rebound: a server on all interfaces answers to any of them, a loopback server to loopback ones.
    """

    def __init__(self, bound_to: str, extra: Sequence[str]) -> None:
        address = read_address(bound_to)
        self._any_address = address is not None and address.is_unspecified
        self._names = {"localhost", bound_to.lower()}
        if address is None or not address.is_loopback:
            self._names |= {socket.gethostname().lower()}
        self._extra = {authority for name in extra if (authority := read_authority(name)) is not None}

    def accept(self, authority: Authority) -> bool:
        """Return whether a request under this Host is meant for this server."""
        if authority in self._extra or Authority(authority.host, None) in self._extra:
            return True
        address = read_address(authority.host)
        if address is None:
            return authority.host in self._names
        return self._any_address or address.is_loopback or authority.host in self._names
