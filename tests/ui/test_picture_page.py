"""The img2img page in a real browser: a picture in, a mask painted on it, and what is sent."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.ui.chromium import Screen
from tests.ui.conftest import Site

pytestmark = pytest.mark.browser


def png(size: tuple[int, int] = (192, 128), colour: str = "teal") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def choose(page: Page, *contents: bytes, field: str = "img2img_file") -> None:
    files: list[Any] = [
        {"name": f"{number}.png", "mimeType": "image/png", "buffer": each} for number, each in enumerate(contents)
    ]
    page.set_input_files(f"#{field}", files)
    expect(page.locator(".mask-canvas")).to_be_visible()


def paint(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Paint from one place to another, both as shares of the picture's sides."""
    box = page.locator(".mask-canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + start[0] * box["width"], box["y"] + start[1] * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + end[0] * box["width"], box["y"] + end[1] * box["height"], steps=5)
    page.mouse.up()


@pytest.fixture
def page(screen: Screen) -> Iterator[Page]:
    screen.page.click("#tab_img2img-button")
    expect(screen.page.locator("#img2img_generate")).to_be_visible()
    yield screen.page


def generate(page: Page, screen: Screen, site: Site) -> dict[str, Any]:
    page.evaluate("document.querySelector('.progress-box').dataset.state = ''")
    page.click("#img2img_generate")
    screen.wait_for("finished")
    return site.jobs(1)[0]


def stored(site: Site, reference: str) -> Image.Image:
    return Image.open(io.BytesIO(site.client.get(f"/api/v2/inputs/{reference}").content))


def test_a_picture_is_where_a_job_begins(page: Page, screen: Screen, site: Site) -> None:
    page.locator("#img2img_prompt textarea").fill("a boat")
    choose(page, png())
    expect(page.locator(".picture-words")).to_have_text("192×128")
    page.locator("#img2img_denoising_strength input[type=number]").fill("0.4")
    job = generate(page, screen, site)
    start = job["plan"]["start"]
    assert (start["kind"], start["strength"]) == ("image", 0.4)
    assert stored(site, start["images"][0]).getpixel((5, 5)) == (0, 128, 128)
    assert (job["plan"]["width"], job["plan"]["height"]) == (192, 128), "the picture's own size was proposed"
    assert job["plan"]["images"][0]["prompt"] == "a boat"
    screen.expect_picture()
    assert "Denoising strength: 0.4" in screen.infotext
    expect(page.locator("#img2img_results #txt2img_gallery")).to_be_visible()


def test_a_painted_mask_is_sent_and_its_options_appear(page: Page, screen: Screen, site: Site) -> None:
    choose(page, png())
    expect(page.locator("#img2img_inpaint_options")).to_be_hidden()
    page.click("#img2img_inpaint_tab")
    expect(page.locator("#img2img_inpaint_options")).to_be_visible()
    page.click("#img2img_generate")
    expect(page.locator("#easel_toasts")).to_contain_text("Paint over what should change first")
    paint(page, (0.2, 0.5), (0.4, 0.5))
    page.locator("#img2img_mask_blur input[type=number]").fill("2")
    page.locator("#img2img_soft_inpainting input").check()
    job = generate(page, screen, site)
    start = job["plan"]["start"]
    assert (start["kind"], start["mask_blur"], start["soft"], start["invert"]) == ("masked_image", 2, True, False)
    mask = stored(site, start["mask"]).convert("L")
    assert mask.size == (192, 128)
    assert [mask.getpixel((x, 64)) for x in (57, 150)] == [255, 0]


def test_strokes_can_be_undone_redone_erased_and_cleared(page: Page, screen: Screen, site: Site) -> None:
    choose(page, png())
    page.click("#img2img_inpaint_tab")
    undo, redo, clear = (page.get_by_role("button", name=name) for name in ("Undo", "Redo", "Clear what was painted"))
    expect(undo).to_be_disabled()
    paint(page, (0.2, 0.5), (0.4, 0.5))
    paint(page, (0.7, 0.5), (0.8, 0.5))
    undo.click()
    start = generate(page, screen, site)["plan"]["start"]
    assert [stored(site, start["mask"]).convert("L").getpixel((x, 64)) for x in (57, 144)] == [255, 0]
    redo.click()
    start = generate(page, screen, site)["plan"]["start"]
    assert [stored(site, start["mask"]).convert("L").getpixel((x, 64)) for x in (57, 144)] == [255, 255]
    undo.click()
    page.get_by_role("button", name="Eraser").click()
    page.locator("#img2img_brush_size").fill("160")
    paint(page, (0.1, 0.5), (0.6, 0.5))
    expect(clear).to_be_disabled()
    page.keyboard.press("Control+z")
    expect(clear).to_be_enabled()
    clear.click()
    expect(clear).to_be_disabled()
    page.click("#img2img_img2img_tab")
    assert generate(page, screen, site)["plan"]["start"]["kind"] == "image"


def test_a_mask_can_be_loaded(page: Page, screen: Screen, site: Site) -> None:
    choose(page, png())
    expect(page.locator(".picture-words")).to_have_text("192×128")
    page.click("#img2img_inpaint_tab")
    image = Image.new("L", (96, 64))
    image.paste(255, (0, 0, 48, 64))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    choose(page, buffer.getvalue(), field="img2img_mask_file")
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()
    mask = stored(site, generate(page, screen, site)["plan"]["start"]["mask"]).convert("L")
    assert [mask.getpixel((x, 64)) for x in (20, 170)] == [255, 0]


def test_several_pictures_give_one_result_each(page: Page, screen: Screen, site: Site) -> None:
    choose(page, png(colour="red"), png(colour="blue"))
    expect(page.locator(".picture-words")).to_contain_text("2 pictures")
    job = generate(page, screen, site)
    assert len(set(job["plan"]["start"]["images"])) == 2
    assert [image["role"] for image in job["images"]] == ["image", "image", "sheet"]


def test_without_a_picture_the_page_says_so(page: Page, site: Site) -> None:
    before = len(site.jobs())
    page.click("#img2img_generate")
    expect(page.locator("#easel_toasts")).to_contain_text("Choose a picture first")
    assert len(site.jobs()) == before


def test_picture_and_mask_survive_a_reload(page: Page, screen: Screen, site: Site) -> None:
    choose(page, png())
    page.click("#img2img_inpaint_tab")
    paint(page, (0.2, 0.5), (0.4, 0.5))
    page.locator("#img2img_prompt textarea").fill("kept")
    first = generate(page, screen, site)["plan"]["start"]
    screen.reload()
    expect(page.locator(".picture-words")).to_have_text("192×128")
    expect(page.locator("#img2img_inpaint_options")).to_be_visible()
    expect(page.locator("#img2img_prompt textarea")).to_have_value("kept")
    again = generate(page, screen, site)["plan"]["start"]
    assert (again["images"], again["mask"]) == (first["images"], first["mask"])


def test_a_result_is_sent_to_img2img(screen: Screen, site: Site) -> None:
    screen.fill(prompt="discs", seed=5, width=128, height=192)
    screen.generate()
    screen.wait_for("finished")
    screen.expect_picture()
    page = screen.page
    page.get_by_role("button", name="Send to img2img", exact=True).first.click()
    expect(page.locator("#tab_img2img")).to_be_visible()
    expect(page.locator(".picture-words")).to_have_text("128×192")
    expect(page.locator("#img2img_prompt textarea")).to_have_value("discs")
    expect(page.locator("#img2img_height input[type=number]")).to_have_value("192")
    job = generate(page, screen, site)
    before = site.jobs(2)[1]
    sent = stored(site, job["plan"]["start"]["images"][0])
    made = Image.open(io.BytesIO(site.client.get(f"/api/v2/jobs/{before['id']}/images/0").content))
    assert sent.tobytes() == made.tobytes()
