"""Keeps the lists of models true while the program runs: reads new files, follows changes, computes missing hashes."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

from webui.domain.models import ModelInfo
from webui.errors import EaselError
from webui.weights.catalog.catalog import Catalog
from webui.weights.catalog.files import ModelFiles
from webui.weights.catalog.hashes import GivenUp

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0  # seconds between glances at the folders
_ASK_EVERY = 0.5  # seconds between questions whether a job runs
_SLICE = 0.5  # seconds of identifying after which others may look at the folders
_NICE = 10  # Linux: how much the thread gives way to others


class Librarian:
    """One quiet thread. Hashing waits while a job runs, goes file by file, and ends at once with the program."""

    def __init__(
        self,
        files: ModelFiles,
        is_busy: Callable[[], bool],
        may_hash: Callable[[], bool],
        look_every: float = LOOK_EVERY,
    ) -> None:
        self._files = files
        self._is_busy = is_busy
        self._may_hash = may_hash
        self._look_every = look_every
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._given_up: set[tuple[str, int]] = set()  # path and size of files that could not be hashed
        self._asked = 0.0

    def start(self) -> None:
        """Begin; return at once."""
        self._thread = threading.Thread(target=self._run, name="librarian")
        self._thread.start()

    def stop(self) -> None:
        """End, and return when the thread has ended."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        _give_way()
        while not self._stopping.is_set():
            try:
                self._look()
                self._hash_until(time.monotonic() + self._look_every)
            except Exception:  # the lists stay as they are; the next round may go better
                log.exception("The lists of models could not be brought up to date")
            self._stopping.wait(self._look_every)

    def _look(self) -> None:
        for catalog in self._files.by_kind.values():
            if self._stopping.is_set():
                return
            catalog.follow()
            while catalog.has_pending and not self._stopping.is_set():
                catalog.identify_pending(self._until(time.monotonic() + _SLICE))
                self._stopping.wait(0.01)  # who waits for the catalog comes in between

    def _until(self, end: float) -> Callable[[], bool]:
        return lambda: time.monotonic() < end and not self._stopping.is_set()

    def _hash_until(self, end: float) -> None:
        """Hash one model after the other; changes in the folders are looked for again after `end`."""
        for catalog, model in self._unhashed():
            if time.monotonic() >= end or not self._goes_on():
                return
            try:
                catalog.hash_quietly(model, self._goes_on)
            except GivenUp:
                return
            except (EaselError, OSError) as error:
                log.info("%s has no hash yet: %s", model.path, error)
                self._given_up.add((str(model.path), model.size))

    def _unhashed(self) -> Iterator[tuple[Catalog, ModelInfo]]:
        for catalog in self._files.by_kind.values():
            for model in catalog.models():
                usable = model.problem is None and not model.pending
                if usable and model.sha256 is None and (str(model.path), model.size) not in self._given_up:
                    yield catalog, model

    def _goes_on(self) -> bool:
        """Wait while a job runs; return whether hashing is still wanted then."""
        if time.monotonic() - self._asked >= _ASK_EVERY:
            while self._is_busy() and not self._stopping.wait(_ASK_EVERY):
                pass
            self._asked = time.monotonic()
        return not self._stopping.is_set() and self._may_hash()


def _give_way() -> None:
    """Let every other thread go first, where threads have priorities of their own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
