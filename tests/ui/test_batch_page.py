"""Batches of img2img in a real browser: one job for each file, with what the files themselves say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.ui.chromium import Screen
from tests.ui.conftest import Site
from tests.ui.test_extras_page import files
from tests.ui.test_picture_page import png, stored
from webui.images.encode import encode_png

pytestmark = pytest.mark.browser

OWN = encode_png(Image.new("RGB", (64, 64), "navy"), "a harbour\nSteps: 7, Sampler: LMS, Seed: 5, CFG scale: 3")


@pytest.fixture
def page(screen: Screen) -> Iterator[Page]:
    screen.page.click("#tab_img2img-button")
    screen.page.click("#img2img_batch_tab")
    expect(screen.page.locator("#img2img_batch")).to_be_visible()
    yield screen.page


def test_a_bad_file_is_named_and_the_others_go_on_with_their_own_words(page: Page, screen: Screen, site: Site) -> None:
    screen.expected_errors += ["/api/v2/inputs"]
    known = {job["id"] for job in site.jobs()}
    page.click("#img2img_generate")
    expect(page.locator("#easel_toasts")).to_contain_text("Choose pictures for the batch first")
    page.locator("#img2img_prompt textarea").fill("the form's words")
    page.locator("#img2img_steps input[type=number]").fill("3")
    chosen = files(("plain.png", png()), ("bad.png", b"no picture"), ("harbour.png", OWN))
    page.set_input_files("#img2img_batch_files", chosen)
    page.locator("#img2img_batch_use_png_info").check()
    page.locator("#img2img_batch_png_info_props input[value=steps]").uncheck()
    page.click("#img2img_generate")
    rows = page.locator("#img2img_batch_list li")
    expect(rows.nth(2)).to_have_attribute("data-state", "finished")
    expect(rows.nth(0)).to_have_attribute("data-state", "finished")
    expect(rows.nth(1)).to_have_attribute("data-state", "failed")
    expect(rows.nth(1)).to_contain_text("bad.png")
    expect(page.locator("#img2img_batch_count_done")).to_have_text("2 of 3 done · 1 failed")
    jobs = {job["plan"]["images"][0]["prompt"]: job for job in site.jobs() if job["id"] not in known}
    assert set(jobs) == {"the form's words", "a harbour"}
    harbour = jobs["a harbour"]["request"]
    assert (harbour["seed"], harbour["guidance"], harbour["sampler"], harbour["steps"]) == (5, 3, "LMS", 3)
    assert stored(site, harbour["start"]["images"][0]).getpixel((5, 5)) == (0, 0, 128)


def test_a_batch_with_one_mask_for_all_can_be_stopped(page: Page, screen: Screen, site: Site) -> None:
    known = {job["id"] for job in site.jobs()}
    site.hold_at(2)
    page.set_input_files("#img2img_batch_files", files(*((f"{number}.png", png()) for number in range(4))))
    page.set_input_files("#img2img_batch_mask", files(("mask.png", png(colour="white"))))
    expect(page.locator("#img2img_inpaint_options")).to_be_visible()
    page.click("#img2img_generate")
    rows = page.locator("#img2img_batch_list li")
    expect(rows.nth(0)).to_have_attribute("data-state", "running")
    page.click("#img2img_batch_stop")
    expect(rows.nth(1)).to_have_attribute("data-state", "stopped")
    site.release()
    expect(page.locator("#img2img_batch_list li[data-state=stopped]")).to_have_count(4)
    begun = [job for job in site.jobs() if job["id"] not in known]
    assert 1 <= len(begun) <= 2 and {job["plan"]["start"]["kind"] for job in begun} == {"masked_image"}
