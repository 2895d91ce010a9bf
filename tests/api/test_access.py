from __future__ import annotations

import base64

import pytest

from webui.api.access import (
    GUESS_SECONDS,
    GUESSES,
    MAX_ADDRESSES,
    MAX_SESSIONS,
    SESSION_SECONDS,
    Accounts,
    GuessLimit,
    Sessions,
    read_basic,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_accounts_know_their_pairs_only() -> None:
    accounts = Accounts([("ann", "secret"), ("bob", "päss:word")])
    assert accounts.accept("ann", "secret")
    assert accounts.accept("bob", "päss:word")
    for pair in [("ann", "päss:word"), ("ann", ""), ("", ""), ("ann", "secret "), ("annsecret", ""), ("\udcff", "x")]:
        assert not accounts.accept(*pair)
    assert not Accounts(())
    assert (Accounts([("ann", "secret")]) + Accounts([("bob", "b")])).accept("bob", "b")


def test_basic_headers_are_read() -> None:
    def header(text: bytes) -> str:
        return f"Basic {base64.b64encode(text).decode()}"

    assert read_basic(header(b"ann:a:b")) == ("ann", "a:b")
    assert read_basic(header("ann:ä".encode())) == ("ann", "ä")
    assert read_basic(header(b"\xff:x")) is not None


@pytest.mark.parametrize("text", ["", "Basic", "Basic ", "Basic !!!", "Bearer YTpi", "Basic YQ==", "Basic ä"])
def test_what_is_no_basic_header_is_none(text: str) -> None:
    assert read_basic(text) is None


def test_sessions_end_by_closing_and_by_age() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    first, second = sessions.open(), sessions.open()
    assert first != second
    assert sessions.accept(first) and sessions.accept(second)
    assert not sessions.accept("") and not sessions.accept("guess")
    sessions.close(first)
    assert not sessions.accept(first) and sessions.accept(second)
    clock.now += SESSION_SECONDS
    assert not sessions.accept(second)


def test_sessions_do_not_grow_without_end() -> None:
    sessions = Sessions()
    oldest = sessions.open()
    for _ in range(MAX_SESSIONS):
        sessions.open()
    assert not sessions.accept(oldest)


def test_guessing_is_slowed_per_address() -> None:
    clock = Clock()
    limit = GuessLimit(clock)
    for _ in range(GUESSES):
        assert limit.seconds_to_wait("a") == 0
        limit.count_miss("a")
    assert limit.seconds_to_wait("a") == GUESS_SECONDS
    assert limit.seconds_to_wait("b") == 0
    clock.now += GUESS_SECONDS
    assert limit.seconds_to_wait("a") == 0
    limit.forget("a")
    for _ in range(MAX_ADDRESSES + 1):
        limit.count_miss(str(_))
    assert len(limit._misses) == MAX_ADDRESSES
