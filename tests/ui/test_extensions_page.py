"""The Extensions page in a real browser: look, install, switch, save, remove; and what is hostile stays text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.extending.strangers import put
from tests.ui.chromium import Screen
from tests.ui.conftest import HOSTILE, Site

pytestmark = pytest.mark.browser


@pytest.fixture
def page(screen: Screen) -> Page:
    screen.page.click("#tab_extensions-button")
    expect(screen.page.locator("#extensions_bundled .extension")).not_to_have_count(0)
    return screen.page


def test_an_extension_is_looked_at_installed_switched_and_removed(page: Page, site: Site, tmp_path: Path) -> None:
    manifest = {"title": HOSTILE, "permissions": [HOSTILE], "description": "<b>bold</b>"}
    folder = put(tmp_path, "painted", easel__json=json.dumps(manifest), requirements__txt="numpy\n")
    page.click(".chip[value=folder]")
    page.fill("#extensions_address", str(folder))
    page.click("#extensions_fetch")
    found = page.locator(".extension-inspection[data-folder=painted]")
    expect(found).to_contain_text(HOSTILE)
    expect(found).to_contain_text("numpy")
    assert not (site.data_dir / "extensions" / "painted").exists()
    found.locator("[data-decision=accept]").click()
    row = page.locator(".extension[data-folder=painted]")
    expect(row).to_have_attribute("data-state", "waiting")
    expect(row).to_contain_text("Scripts painted")
    expect(page.locator("#extensions_restart")).to_be_visible()
    row.locator("input[type=checkbox]").uncheck()
    expect(row).to_have_attribute("data-state", "disabled")
    page.fill("#extensions_state_name", HOSTILE[:8].strip("<") + " state")
    page.click("#extensions_save_state")
    expect(page.locator(".saved-state")).to_contain_text("(painted)")
    page.once("dialog", lambda dialog: dialog.accept())
    row.get_by_text("Remove").click()
    expect(row).to_have_count(0)
    page.locator(".saved-state").get_by_text("Delete").click()
    expect(page.locator(".saved-state")).to_have_count(0)
    assert page.evaluate("window.hacked") is None


def test_a_failure_is_shown_with_its_log(page: Page, site: Site, tmp_path: Path) -> None:
    folder = put(tmp_path, "failing", "print('so far, so good')\nraise ValueError('then it failed')")
    page.click(".chip[value=folder]")
    page.fill("#extensions_address", str(folder))
    page.click("#extensions_fetch")
    page.click(".extension-inspection[data-folder=failing] [data-decision=accept]")
    row = page.locator(".extension[data-folder=failing]")
    expect(row).to_have_attribute("data-state", "failed")
    expect(row.locator(".extension-problem")).to_contain_text("then it failed")
    row.locator("summary").click()
    expect(row.locator("pre")).to_contain_text("so far, so good")
    page.once("dialog", lambda dialog: dialog.accept())
    row.get_by_text("Remove").click()
    expect(row).to_have_count(0)


def test_an_index_is_searched_and_what_is_wrong_is_said(page: Page, screen: Screen, tmp_path: Path) -> None:
    screen.expected_errors.append("/extensions/")
    names = ["First thing", "Second thing", HOSTILE]
    listed = [{"name": name, "url": f"https://127.0.0.1:9/{number}", "tags": []} for number, name in enumerate(names)]
    (tmp_path / "index.json").write_text(json.dumps({"extensions": listed}))
    page.fill("#extensions_index", str(tmp_path / "index.json"))
    page.click("#extensions_read_index")
    expect(page.locator(".index-entry")).to_have_count(3)
    page.fill("#extensions_search", "second")
    expect(page.locator(".index-entry")).to_have_count(1)
    page.click(".index-entry button")
    expect(page.locator(".toast.error")).to_contain_text("git could not fetch it")
    page.fill("#extensions_address", "file:///etc")
    page.click("#extensions_fetch")
    expect(page.locator(".toast.error").last).to_contain_text("by https only")
    assert page.evaluate("window.hacked") is None
