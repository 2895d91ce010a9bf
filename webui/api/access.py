"""Who may come in: passwords, sessions and the limit on guessing. No credentials configured means everybody may."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

SESSION_SECONDS = 30 * 24 * 3600
MAX_SESSIONS = 10_000
GUESSES = 8  # wrong passwords from one address within GUESS_SECONDS
GUESS_SECONDS = 60.0
MAX_ADDRESSES = 10_000

Clock = Callable[[], float]


class Accounts:
    """User names with passwords; comparing takes the same time whatever is wrong."""

    def __init__(self, credentials: Sequence[tuple[str, str]]) -> None:
        self._digests = tuple(_digest(name, password) for name, password in credentials)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def __add__(self, other: Accounts) -> Accounts:
        joined = Accounts(())
        joined._digests = self._digests + other._digests
        return joined

    def accept(self, name: str, password: str) -> bool:
        """Return whether this pair is one of the accounts."""
        given = _digest(name, password)
        found = False
        for known in self._digests:  # no early exit: the time must not tell which account matched
            found |= hmac.compare_digest(known, given)
        return found


def _digest(name: str, password: str) -> bytes:
    """Hash both parts apart, so that neither length nor the border between them shows."""
    parts = (hashlib.sha256(part.encode("utf-8", "surrogateescape")).digest() for part in (name, password))
    return b"".join(parts)


def read_basic(header: str) -> tuple[str, str] | None:
    """Return (name, password) of an `Authorization: Basic` header; None when it is none."""
    scheme, _, value = header.strip().partition(" ")
    if scheme.lower() != "basic" or not value.strip():
        return None
    try:
        text = base64.b64decode(value.strip(), validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return None
    name, colon, password = text.partition(":")
    return (name, password) if colon else None


class Sessions:
    """Tokens of logged-in browsers, in memory only: a restart logs everybody out. Thread-safe."""

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock
        self._expiries: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def open(self) -> str:
        """Return a new token, good for SESSION_SECONDS."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._expiries[_fingerprint(token)] = self._clock() + SESSION_SECONDS
            while len(self._expiries) > MAX_SESSIONS:
                self._expiries.popitem(last=False)
        return token

    def accept(self, token: str) -> bool:
        """Return whether `token` was opened here, has not been closed and has not expired."""
        key = _fingerprint(token)
        with self._lock:
            expiry = self._expiries.get(key)
            if expiry is None:
                return False
            if expiry <= self._clock():
                del self._expiries[key]
                return False
            return True

    def close(self, token: str) -> None:
        """Forget `token`."""
        with self._lock:
            self._expiries.pop(_fingerprint(token), None)


def _fingerprint(token: str) -> bytes:
    # The look-up goes by a hash, so its timing says nothing about tokens that exist.
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class GuessLimit:
    """Counts wrong passwords per address and says how long an address must wait. Thread-safe."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._misses: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def seconds_to_wait(self, address: str) -> float:
        """Return 0.0 when `address` may try, else the seconds until it may."""
        now = self._clock()
        with self._lock:
            misses = self._misses.get(address)
            if misses is None or len(misses) < GUESSES:
                return 0.0
            return max(0.0, misses[0] + GUESS_SECONDS - now)

    def count_miss(self, address: str) -> None:
        with self._lock:
            misses = self._misses.setdefault(address, deque(maxlen=GUESSES))
            misses.append(self._clock())
            self._misses.move_to_end(address)
            while len(self._misses) > MAX_ADDRESSES:
                self._misses.popitem(last=False)

    def forget(self, address: str) -> None:
        """Start anew for `address`: it knew the password."""
        with self._lock:
            self._misses.pop(address, None)
