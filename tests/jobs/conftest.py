"""A plan without a model, a store in a temporary folder, and an output folder that saves for real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from webui.jobs.store import JobStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(f"sqlite:///{tmp_path / 'easel.db'}")
    yield store
    store.close()
