"""The Models page in a real browser: cards are found, read, written and used; work is begun and refused."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from tests.api.site import make_model
from tests.ui.chromium import Screen
from tests.ui.conftest import Site

pytestmark = pytest.mark.browser


@pytest.fixture
def page(screen: Screen, site: Site) -> Page:
    make_model(site.data_dir / "models" / "Stable-diffusion", "painted")
    screen.page.click("#tab_models-button")
    screen.page.click("#models_refresh")
    expect(screen.page.locator(".model-card", has_text="painted")).to_be_visible()
    return screen.page


def test_models_are_searched_and_noted_on(page: Page, site: Site) -> None:
    page.fill("#models_search", "paint")
    expect(page.locator(".model-card")).to_have_count(1)
    page.click(".model-card")
    dialog = page.locator(".card-dialog")
    expect(dialog).to_contain_text("SD1")
    page.fill("#card_notes", "good for <b>skies</b>")
    dialog.locator(".card-defaults input").first.fill("192")
    page.click("#card_save")
    expect(dialog).to_have_count(0)
    card = site.data_dir / "models" / "Stable-diffusion" / "painted" / "easel.json"
    written = json.loads(card.read_text("utf-8"))
    assert written["notes"] == "good for <b>skies</b>" and written["defaults"]["width"] == 192
    page.click(".model-card")
    expect(page.locator("#card_notes")).to_have_value("good for <b>skies</b>")
    page.click("#card_close")
    page.fill("#models_search", "nothing like it")
    expect(page.locator(".model-card")).to_have_count(0)
    expect(page.get_by_text("There is no such model.")).to_be_visible()


def test_a_checkpoint_is_used_from_its_card(page: Page, screen: Screen, site: Site) -> None:
    page.click(".model-card:has-text('large')")
    page.click("#card_use")
    expect(page.locator("#tab_txt2img")).to_be_visible()
    expect(screen.field("width")).to_have_value("512")
    assert site.settings()["sd_model_checkpoint"].startswith("large")
    screen.choose("model", "pocket")


def test_work_is_begun_and_what_is_wrong_is_said(page: Page, screen: Screen) -> None:
    screen.expected_errors.append("/model-work")
    page.select_option("#work_source", "painted")
    page.fill("#work_target", "../outside")
    page.click("#work_begin")
    expect(page.locator("#work_problem")).to_contain_text("character that file names may not have")
    page.fill("#work_target", "painted again")
    page.click("#work_begin")
    expect(page.locator("#work_problem")).to_be_hidden()
    # The fake model holds next to nothing, which the process finds out.
    expect(page.locator("#work_list li[data-state=failed]")).to_contain_text("painted", timeout=60_000)
    page.click(".model-work .chip[value=merge]")
    expect(page.locator("#work_method option")).to_have_count(5)
