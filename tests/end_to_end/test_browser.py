"""The first minute: open the browser, describe a picture, move the controls, get that picture."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.serving import RunningServer
from tests.ui.chromium import Screen

pytestmark = pytest.mark.browser

PROMPT = "a red house under a yellow moon, night sky"


def test_words_and_controls_become_that_picture(pocket_server: RunningServer, browser: Browser) -> None:
    with browser.new_context(locale="en-US") as context:
        screen = Screen(context.new_page(), pocket_server.url)
        screen.open()
        assert screen.values("width", "height") == {"width": "128", "height": "128"}, "the model proposes its own size"
        expect(screen.page.locator("#txt2img_examples .chip", has_text=PROMPT)).to_be_visible()
        screen.fill(prompt=PROMPT, guidance=4, steps=8, seed=3)
        screen.generate()
        screen.wait_for("finished")
        screen.expect_picture()
        expect(screen.page.locator("#easel_needs")).to_contain_text("GB of")
        shown = screen.page.evaluate(
            "async () => [...new Uint8Array("
            "await (await fetch(document.querySelector('img.picture').src)).arrayBuffer())]"
        )
        infotext = screen.infotext
        screen.assert_clean()
    assert infotext.startswith(f"{PROMPT}\nSteps: 8, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4, Seed: 3")
    asked = {"prompt": PROMPT, "guidance": 4, "steps": 8, "seed": 3, "width": 128, "height": 128}
    with pocket_server.client() as client:
        job = client.post("/api/v2/jobs", json={**asked, "sampler": "DPM++ 2M", "schedule": "Karras"}).json()
        with client.stream("GET", f"/api/v2/jobs/{job['id']}/events") as events:
            events.read()
        same = client.get(f"/api/v2/jobs/{job['id']}/images/0").content
    assert bytes(shown) == same
