"""The queue that starts paused after two crashes, and the button that lets it go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.api.site import make_model
from tests.serving import wait_until
from tests.ui.chromium import Screen
from tests.ui.conftest import start_server

pytestmark = pytest.mark.browser


def test_go_on_takes_up_the_job_that_brought_the_server_down(context: BrowserContext, tmp_path: Path) -> None:
    make_model(tmp_path / "models" / "Stable-diffusion", "pocket")
    (tmp_path / "hold").write_text("1")
    for crash in range(2):
        site, process = start_server(tmp_path)
        if crash == 0:
            site.client.post("/api/v2/jobs", json={"prompt": "discs", "width": 64, "height": 64, "steps": 1})
        wait_until(lambda: site.jobs()[0]["state"] == "running", "the job to run")  # noqa: B023
        site.client.close()
        process.kill()
        process.wait(timeout=60)
    site, process = start_server(tmp_path)
    try:
        screen = Screen(context.new_page(), site.url)
        screen.open()
        line = screen.page.locator(".state-line")
        expect(line).to_contain_text("Queue paused after two crashes")
        assert site.jobs()[0]["state"] == "queued"
        site.release()
        with screen.page.expect_response("**/queue/resume"):
            screen.page.get_by_role("button", name="Go on").click()
        expect(line).not_to_contain_text("paused")
        expect(screen.page.get_by_role("button", name="Go on")).to_be_hidden()
        wait_until(lambda: site.jobs()[0]["state"] == "finished", "the job to end")
        screen.assert_clean()
    finally:
        context.close()  # a page that is open keeps a server from ending at once
        site.client.close()
        process.terminate()
        process.wait(timeout=60)
