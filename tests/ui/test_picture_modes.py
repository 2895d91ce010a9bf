"""The sub-tabs of img2img in a real browser: what is painted, grown or loaded arrives exactly."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.ui.chromium import Screen
from tests.ui.conftest import Site
from tests.ui.test_picture_page import choose, generate, paint, png, stored

pytestmark = pytest.mark.browser

TEAL = (0, 128, 128)


@pytest.fixture
def page(screen: Screen) -> Iterator[Page]:
    screen.page.click("#tab_img2img-button")
    expect(screen.page.locator("#img2img_generate")).to_be_visible()
    yield screen.page


def set_colour(page: Page, colour: str, field: str = "img2img_brush_colour") -> None:
    page.locator(f"#{field}").fill(colour)


def test_a_sketch_arrives_in_its_colours_and_its_mask_with_it(page: Page, screen: Screen, site: Site) -> None:
    choose(page, png())
    page.click("#img2img_sketch_tab")
    set_colour(page, "#ff2010")
    paint(page, (0.2, 0.5), (0.4, 0.5))
    set_colour(page, "#2030ff")
    paint(page, (0.6, 0.5), (0.8, 0.5))
    start = generate(page, screen, site)["plan"]["start"]
    sketch = stored(site, start["images"][0]).convert("RGB")
    assert (start["kind"], sketch.size) == ("image", (192, 128))
    assert [sketch.getpixel((x, 64)) for x in (57, 96, 134)] == [(255, 32, 16), TEAL, (32, 48, 255)]
    assert sketch.getpixel((57, 10)) == TEAL

    page.click("#img2img_inpaint_sketch_tab")  # the same paint, now as colour and mask
    page.locator("#img2img_mask_alpha").fill("50")
    start = generate(page, screen, site)["plan"]["start"]
    mask = stored(site, start["mask"]).convert("L")
    assert start["kind"] == "masked_image"
    assert {colour for _, colour in mask.getcolors() or ()} == {0, 255}
    assert [mask.getpixel((x, 64)) for x in (57, 96, 134)] == [255, 0, 255]
    blended = stored(site, start["images"][0]).convert("RGB").getpixel((57, 64))
    assert isinstance(blended, tuple)
    assert np.abs(np.subtract(blended, (127.5, 80, 72))).max() <= 1, "half paint, half picture"

    screen.reload()  # the paint is still paint: it can be taken away
    expect(page.locator("#img2img_inpaint_sketch_tab")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("button", name="Clear what was painted")).to_be_enabled()
    again = generate(page, screen, site)["plan"]["start"]
    assert stored(site, again["mask"]).tobytes() == stored(site, start["mask"]).tobytes()
    page.get_by_role("button", name="Clear what was painted").click()
    page.click("#img2img_img2img_tab")
    plain = stored(site, generate(page, screen, site)["plan"]["start"]["images"][0]).convert("RGB")
    assert plain.getcolors() == [(192 * 128, TEAL)]


def test_a_sketch_on_an_empty_canvas_with_a_picked_colour(page: Page, screen: Screen, site: Site) -> None:
    page.click("#img2img_sketch_tab")
    page.locator(".blank-line input").fill("#804020")
    page.locator("#img2img_width input[type=number]").fill("256")
    page.locator("#img2img_height input[type=number]").fill("128")
    page.click("#img2img_blank")
    expect(page.locator(".picture-words")).to_have_text("256×128")
    page.get_by_role("button", name="Take a colour").click()
    page.locator(".mask-canvas").click(position={"x": 5, "y": 5})
    expect(page.locator("#img2img_brush_colour")).to_have_value("#804020")
    set_colour(page, "#00ff00")
    paint(page, (0.1, 0.5), (0.9, 0.5))
    sketch = stored(site, generate(page, screen, site)["plan"]["start"]["images"][0]).convert("RGB")
    assert sketch.size == (256, 128)
    assert [sketch.getpixel(place) for place in ((128, 64), (128, 5))] == [(0, 255, 0), (128, 64, 32)]


def test_a_mask_painted_while_zoomed_lies_where_it_was_painted(page: Page, screen: Screen, site: Site) -> None:
    """A picture of 4K, zoomed in at a corner and moved: the stroke covers what lay under the pointer, to the pixel."""
    choose(page, png((3840, 2160)))
    page.click("#img2img_inpaint_tab")
    expect(page.locator(".picture-words")).to_contain_text("3840×2160")
    page.locator("#img2img_brush_size").fill("20")
    box = page.locator(".mask-canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    page.mouse.wheel(0, -900)
    expect(page.locator(".picture-words")).to_contain_text("%")
    page.keyboard.down("Space")
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4 + 40, box["y"] + box["height"] / 4 + 30, steps=4)
    page.mouse.up()
    page.keyboard.up("Space")
    transform = page.locator(".mask-stage > img").evaluate("image => image.style.transform")
    left, top, scale = map(float, re.findall(r"-?[\d.]+", transform))
    row, begin, end = 0.6 * box["height"], 0.3 * box["width"], 0.7 * box["width"]
    paint(page, (0.3, 0.6), (0.7, 0.6))
    mask = np.asarray(stored(site, generate(page, screen, site)["plan"]["start"]["mask"]).convert("L")) > 127
    rows, columns = np.nonzero(mask)
    radius = 10 / scale
    measured = (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
    painted = ((row - top) / scale - radius, (row - top) / scale + radius)
    painted += ((begin - left) / scale - radius, (end - left) / scale + radius)
    assert mask.shape == (2160, 3840)
    assert np.abs(np.subtract(measured, painted)).max() <= 2 / scale  # pointer positions are whole pixels of the screen


def test_an_uploaded_mask_is_sent_as_it_is(page: Page, screen: Screen, site: Site) -> None:
    choose(page, png())
    page.click("#img2img_inpaint_upload_tab")
    image = Image.new("L", (64, 64))
    image.paste(200, (10, 20, 30, 40))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    choose(page, buffer.getvalue(), field="img2img_mask_file")
    start = generate(page, screen, site)["plan"]["start"]
    assert start["kind"] == "masked_image"
    assert stored(site, start["mask"]).convert("L").tobytes() == image.tobytes()


def test_outpainting_shows_the_grown_canvas_and_asks_for_it(page: Page, screen: Screen, site: Site) -> None:
    choose(page, png())
    page.click("#img2img_outpaint_tab")
    page.click("#img2img_generate")
    expect(page.locator("#img2img_outpaint_left")).to_contain_text("grows on at least one side")
    page.get_by_role("button", name="64 on all sides").click()
    page.locator("#img2img_outpaint_up input").fill("0")
    page.locator("#img2img_outpaint_right input").fill("127")
    page.locator("#img2img_outpaint_right input").press("Tab")
    expect(page.locator(".size-words")).to_have_text("Picture 192×128 → result 384×192")
    grown = page.locator(".grown").bounding_box()
    shown = page.locator(".mask-stage > img").bounding_box()
    assert grown and shown
    assert abs(grown["width"] / shown["width"] - 2) < 0.02 and abs(grown["height"] / shown["height"] - 1.5) < 0.02
    assert abs((shown["x"] - grown["x"]) / shown["width"] - 1 / 3) < 0.02
    start = generate(page, screen, site)["request"]["start"]
    assert start["kind"] == "extended_image"
    assert [start[side] for side in ("left", "right", "up", "down")] == [64, 128, 0, 64]
    page.get_by_role("button", name="None").click()
    page.click("#img2img_inpaint_tab")
    page.click("#img2img_paste")  # the settings of that job bring all of it back
    expect(page.locator("#img2img_outpaint_tab")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#img2img_outpaint_right input")).to_have_value("128")
    expect(page.locator(".size-words")).to_have_text("Picture 192×128 → result 384×192")


def test_the_size_by_a_factor_and_from_the_picture(page: Page, screen: Screen, site: Site) -> None:
    transparent = io.BytesIO()
    Image.new("RGBA", (200, 120), (10, 20, 30, 128)).save(transparent, "PNG")
    choose(page, transparent.getvalue())
    words = page.locator(".size-words")
    page.locator("#img2img_width input[type=number]").fill("512")
    expect(words).to_contain_text("result 512×")
    page.click("#img2img_detect_image_size_btn")
    expect(words).to_have_text("Picture 200×120 → result 200×120")
    page.locator("#img2img_by_scale input").check()
    page.locator("#img2img_scale input[type=number]").fill("1.5")
    expect(words).to_have_text("Picture 200×120 → result 296×176")
    set_colour(page, "#336699", "img2img_background_colour")
    job = generate(page, screen, site)
    start = job["request"]["start"]
    assert (start["scale"], start["background"]) == (1.5, "#336699")


TOUCH = """([kind, ...fingers]) => {
    const canvas = document.querySelector(".mask-canvas"), box = canvas.getBoundingClientRect();
    for (const [pointerId, x, y] of fingers) canvas.dispatchEvent(new PointerEvent(kind, {
        pointerId, pointerType: "touch", bubbles: true, cancelable: true,
        clientX: box.left + x * box.width, clientY: box.top + y * box.height,
    }));
}"""
PASTE = """content => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(content)], "x.png", {type: "image/png"}));
    document.querySelector("#tab_img2img").dispatchEvent(
        new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true, cancelable: true}));
}"""


def test_two_fingers_zoom_and_paint_nothing_and_pictures_can_be_pasted(page: Page) -> None:
    page.evaluate("Element.prototype.setPointerCapture = () => {}")  # there are no such fingers
    page.evaluate(PASTE, list(png((256, 128))))
    words = page.locator(".picture-words")
    expect(words).to_have_text("256×128")
    page.click("#img2img_inpaint_tab")
    page.evaluate(TOUCH, ["pointerdown", [11, 0.4, 0.5], [12, 0.6, 0.5]])
    page.evaluate(TOUCH, ["pointermove", [11, 0.2, 0.5], [12, 0.8, 0.5]])
    page.evaluate(TOUCH, ["pointerup", [11, 0.2, 0.5], [12, 0.8, 0.5]])
    expect(words).to_contain_text("%")
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_be_disabled()
    page.evaluate(TOUCH, ["pointerdown", [13, 0.4, 0.5]])
    page.evaluate(TOUCH, ["pointermove", [13, 0.5, 0.5]])
    page.evaluate(TOUCH, ["pointerup", [13, 0.5, 0.5]])
    expect(undo).to_be_enabled()
    page.locator(".mask-canvas").hover()
    page.keyboard.press("r")
    expect(words).to_have_text("256×128")
    page.keyboard.press("f")
    expect(page.locator(".picture-box.fullscreen")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".picture-box.fullscreen")).to_have_count(0)
