"""For all tests: hypothesis does not look at the clock, which on a busy machine tells nothing about the code; and one
browser, because Playwright runs once in a process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

settings.register_profile("easel", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("easel")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, for all tests that drive it."""
    from playwright.sync_api import sync_playwright

    from tests.ui.chromium import ARGUMENTS, EXECUTABLE

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=EXECUTABLE, args=ARGUMENTS)
        yield started
        started.close()
