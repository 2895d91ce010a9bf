"""Runs git and pip: without a shell, without questions, with limits on time and size."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from webui.errors import BadRequest, GenerationError
from webui.extending.trial import end

LOOK_EVERY = 0.2  # seconds
LAST = 4000  # bytes of what a process printed that are shown

PASSED_ON = (
    "PATH", "HOME", "USERPROFILE", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LANG", "LC_ALL", "LOCALAPPDATA", "APPDATA",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH",
)  # fmt: skip
"""Environment variables that others' programs are given: how to reach the network, and nothing that is secret."""


def environment(**more: str) -> dict[str, str]:
    """Return the environment for a program: PASSED_ON, and `more`."""
    return {**{name: os.environ[name] for name in PASSED_ON if name in os.environ}, **more}


def run(
    command: Sequence[str],
    folder: Path,
    env: Mapping[str, str],
    seconds: float,
    most: int = 0,
    watched: Path | None = None,
) -> tuple[int, str, str]:
    """Run `command` in `folder`; return its exit code, what it answered, and the end of what it said on stderr.

    It is ended after `seconds`, or when `watched` holds more than `most` bytes; `BadRequest` then.
    """
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                list(command),
                cwd=folder,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=said,
                start_new_session=True,
            )
        except OSError as error:
            raise GenerationError(
                f"{command[0]} cannot be run: {error.strerror}.", hint=f"Install {command[0]}, then try again."
            ) from error
        deadline = time.monotonic() + seconds
        try:
            while True:
                try:
                    code = process.wait(LOOK_EVERY)
                    break
                except subprocess.TimeoutExpired:
                    _check(command, deadline, seconds, most, watched)
        finally:
            end(process)
        _check(command, float("inf"), seconds, most, watched)
        return code, _read(answer), _read(said)[-LAST:].strip()


def _read(file: object) -> str:
    file.seek(0)  # type: ignore[attr-defined]
    return str(file.read(), "utf-8", "replace")  # type: ignore[attr-defined]


def _check(command: Sequence[str], deadline: float, seconds: float, most: int, watched: Path | None) -> None:
    if time.monotonic() > deadline:
        raise BadRequest(f"{shlex.join(command[:1])} took longer than {seconds:g} s and was ended.")
    if watched is not None and size_of(watched) > most:
        raise BadRequest(f"It is larger than {most // 1024**2} MB, so fetching it was given up.")


def size_of(folder: Path) -> int:
    """Return how many bytes the files below `folder` take; those that vanish meanwhile count nothing."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                total += Path(parent, name).lstat().st_size
            except OSError:
                continue
    return total
