"""The Extras page in a real browser: one picture, many, and where they go from there."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.ui.chromium import Screen
from tests.ui.conftest import Site
from tests.ui.test_picture_page import png
from webui.images.encode import encode_png

pytestmark = pytest.mark.browser

INFOTEXT = "a lighthouse\nNegative prompt: fog\nSteps: 9, Sampler: Euler, CFG scale: 5, Seed: 77, Size: 64x64"


def files(*named: tuple[str, bytes]) -> list[Any]:
    return [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in named]


@pytest.fixture
def page(screen: Screen) -> Iterator[Page]:
    screen.page.click("#tab_extras-button")
    expect(screen.page.locator("#extras_upscaler_1 option").first).to_be_attached()
    yield screen.page


def enlarge(page: Page, site: Site) -> dict[str, Any]:
    page.click("#extras_generate")
    page.wait_for_selector("#extras_progress[data-state=finished]")
    return site.jobs(1)[0]


def test_a_picture_doubles_and_goes_from_page_to_page(page: Page, screen: Screen, site: Site) -> None:
    expect(page.locator("#extras_generate")).to_be_disabled()
    picture = encode_png(Image.new("RGB", (64, 64), "teal"), INFOTEXT)
    page.set_input_files("#extras_file", files(("tower.png", picture)))
    expect(page.locator("#extras_words")).to_have_text("Picture 64×64 → result 128×128")
    page.locator("#extras_upscaling_resize").fill("2")
    page.select_option("#extras_upscaler_1", "Lanczos")
    page.select_option("#extras_upscaler_2", "Nearest")
    page.locator("#extras_upscaler_2_visibility").fill("0.25")
    job = enlarge(page, site)
    asked = job["request"]
    assert (asked["upscaler"], asked["second_upscaler"], asked["second_share"]) == ("Lanczos", "Nearest", 0.25)
    made = site.client.get(f"/api/v2/jobs/{job['id']}/images/0").content
    assert Image.open(io.BytesIO(made)).size == (128, 128)
    expect(page.locator(".facts-line")).to_have_text("tower.png · 128×128")
    page.wait_for_function("document.querySelector('.comparison .after').naturalWidth === 128")
    page.locator(".comparison input").fill("20")
    assert page.locator(".comparison").evaluate("box => getComputedStyle(box).getPropertyValue('--at')") == "20%"

    screen.reload()  # the result is found again, and what it came from
    page.wait_for_function("document.querySelector('.comparison .after').naturalWidth === 128")
    page.wait_for_function("document.querySelector('.comparison .before').naturalWidth === 64")
    page.click("#extras_send_to_pnginfo")
    expect(page.locator("#tab_pnginfo")).to_be_visible()
    expect(page.locator("#html_info_pnginfo")).to_contain_text("Seed: 77")
    expect(page.locator("#html_info_pnginfo")).to_contain_text("a lighthouse")
    page.click("#pnginfo_send_to_inpaint")
    expect(page.locator("#tab_img2img")).to_be_visible()
    expect(page.locator("#img2img_inpaint_tab")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".picture-words")).to_have_text("128×128")
    expect(page.locator("#img2img_prompt textarea")).to_have_value("a lighthouse")
    expect(page.locator("#img2img_seed input")).to_have_value("77")
    page.click("#tab_pnginfo-button")
    page.click("#pnginfo_send_to_extras")
    expect(page.locator("#tab_extras")).to_be_visible()
    expect(page.locator("#extras_words")).to_have_text("Picture 128×128 → result 256×256")


def test_of_several_files_the_bad_one_is_named_and_the_size_may_be_given(
    page: Page, screen: Screen, site: Site
) -> None:
    screen.expected_errors += ["/api/v2/inputs"]
    page.click("#extras_batch_process_tab")
    bad = ("<b>bad</b>.png", b"no picture")
    page.set_input_files("#extras_file", files(("one.png", png()), bad, ("two.png", png((64, 64)))))
    page.select_option("#extras_scaling", "to")
    page.locator("#extras_upscaling_resize_w").fill("160")
    page.locator("#extras_upscaling_resize_h").fill("160")
    job = enlarge(page, site)
    assert [(image["width"], image["height"]) for image in job["images"]] == [(160, 160), (160, 160)]
    rows = page.locator(".file-list li")
    expect(rows).to_have_count(3)
    expect(rows.nth(1)).to_contain_text("<b>bad</b>.png")
    expect(rows.nth(1)).to_have_attribute("data-state", "failed")
    expect(page.locator("#extras_progress")).to_contain_text("2 of 3 pictures enlarged")
    expect(page.locator(".extras-results .thumbnail-item")).to_have_count(2)
