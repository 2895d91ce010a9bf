"""Pictures through the whole product: painted in the browser, made by the pocket model, enlarged by a real upscaler."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.serving import RunningServer
from tests.ui.chromium import Screen
from tests.ui.test_picture_page import choose, paint

pytestmark = pytest.mark.browser

SIZE = (128, 128)


def picture() -> Image.Image:
    """A soft gradient: every pixel has neighbours of another colour, so that a change anywhere shows."""
    rows, columns = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    pixels = np.stack([columns, rows, 255 - columns], -1)
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_painted_grown_and_enlarged(pocket_server: RunningServer, browser: Browser) -> None:
    with browser.new_context(locale="en-US") as context:
        screen = Screen(context.new_page(), pocket_server.url)
        screen.open("#tab_img2img")
        choose(screen.page, encoded(picture()))
        screen.page.locator("#img2img_steps input[type=number]").fill("4")
        changes_only_what_was_painted(screen, pocket_server)
        grows_at_its_side(screen, pocket_server)
        doubles_on_the_extras_page(screen.page, pocket_server)
        screen.assert_clean()


def newest(server: RunningServer) -> tuple[dict[str, Any], np.ndarray]:
    """Return the newest job and its first image, [H,W,3]."""
    with server.client() as client:
        job = client.get("/api/v2/jobs?limit=1").json()[0]
        content = client.get(f"/api/v2/jobs/{job['id']}/images/0").content
    return job, np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def generate(screen: Screen) -> None:
    screen.page.evaluate("document.querySelector('.progress-box').dataset.state = ''")
    screen.page.click("#img2img_generate")
    screen.wait_for("finished")


def changes_only_what_was_painted(screen: Screen, server: RunningServer) -> None:
    screen.page.click("#img2img_inpaint_sketch_tab")
    screen.page.locator("#img2img_brush_colour").fill("#ff0000")
    screen.page.locator("#img2img_mask_blur input[type=number]").fill("0")
    paint(screen.page, (0.3, 0.5), (0.5, 0.5))
    generate(screen)
    job, result = newest(server)
    with server.client() as client:
        content = client.get(f"/api/v2/inputs/{job['request']['start']['mask']}").content
    painted = np.asarray(Image.open(io.BytesIO(content)).convert("L")) > 0
    differs = (result != np.asarray(picture())).any(-1)
    assert painted[64, 50] and not painted[64, 100]
    assert not differs[~painted].any()
    assert differs[painted].mean() > 0.9


def grows_at_its_side(screen: Screen, server: RunningServer) -> None:
    screen.page.click("#img2img_outpaint_tab")
    screen.page.locator("#img2img_outpaint_right input").fill("64")
    expect(screen.page.locator(".size-words")).to_contain_text("result 192×128")
    generate(screen)
    job, result = newest(server)
    assert job["request"]["start"]["kind"] == "extended_image"
    assert result.shape == (128, 192, 3)
    kept = 128 - job["request"]["start"]["overlap"]
    assert (result[:, :kept] == np.asarray(picture())[:, :kept]).all()


def doubles_on_the_extras_page(page: Page, server: RunningServer) -> None:
    page.click("#tab_extras-button")
    page.set_input_files("#extras_file", {"name": "a.png", "mimeType": "image/png", "buffer": encoded(picture())})
    page.select_option("#extras_upscaler_1", "Lanczos")
    expect(page.locator("#extras_words")).to_contain_text("result 256×256")
    page.click("#extras_generate")
    page.wait_for_selector("#extras_progress[data-state=finished]")
    page.wait_for_function("document.querySelector('.comparison .after').naturalWidth === 256")
    _, result = newest(server)
    assert result.shape == (256, 256, 3)
    small = np.asarray(Image.fromarray(result).resize(SIZE, Image.Resampling.BOX), int)
    assert np.abs(small - np.asarray(picture(), int)).mean() < 3, "the same picture, only larger"
