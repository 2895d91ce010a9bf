"""From page to page: pictures out of the large view, settings out of a text in the prompt."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import expect

from tests.ui.chromium import Screen
from tests.ui.conftest import Site
from tests.ui.test_picture_page import stored

pytestmark = pytest.mark.browser

PASTED = """a mill by a river
with a second line
Negative prompt: people
Steps: 13, Sampler: Euler, Schedule type: Karras, CFG scale: 4.5, Seed: 99, Size: 192x64"""


def test_a_text_in_the_prompt_is_read_and_its_picture_goes_on(screen: Screen, site: Site) -> None:
    screen.field("prompt").fill(PASTED)
    screen.page.click("#txt2img_paste")
    expect(screen.field("seed")).to_have_value("99")
    assert screen.values("prompt", "negative_prompt", "steps", "sampler", "guidance", "width", "height") == {
        "prompt": "a mill by a river\nwith a second line",
        "negative_prompt": "people",
        "steps": "13",
        "sampler": "Euler",
        "guidance": "4.5",
        "width": "192",
        "height": "64",
    }
    screen.generate()
    screen.wait_for("finished")
    screen.expect_picture()
    page = screen.page
    screen.field("prompt").fill("")
    screen.picture.drag_to(screen.field("prompt"))  # the picture brings its words back
    expect(screen.field("prompt")).to_have_value("a mill by a river\nwith a second line")
    screen.picture.click()
    page.locator("#lightboxModal .icon-to-sketch").click()
    expect(page.locator("#tab_img2img")).to_be_visible()
    expect(page.locator("#img2img_sketch_tab")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".picture-words")).to_have_text("192×64")
    expect(page.locator("#img2img_neg_prompt textarea")).to_have_value("people")
    page.evaluate("document.querySelector('.progress-box').dataset.state = ''")
    page.click("#img2img_generate")
    screen.wait_for("finished")
    first, begun = site.jobs(2)[1], site.jobs(1)[0]
    made = site.client.get(f"/api/v2/jobs/{first['id']}/images/0").content
    assert begun["plan"]["start"]["kind"] == "image"
    again = site.client.post("/api/v2/inputs", content=made, headers={"Content-Type": "image/png"}).json()["id"]
    assert begun["plan"]["start"]["images"] == [again]
    assert stored(site, again).size == (192, 64)

    page.click("#img2img_paste")  # no text there: the settings of the last job
    expect(page.locator("#img2img_seed input")).to_have_value(str(begun["images"][0]["seed"]))


def test_png_info_says_who_made_a_picture_and_all_that_its_file_holds(screen: Screen) -> None:
    texts = PngInfo()
    texts.add_text("parameters", "a mill\nSteps: 3, Sampler: Nobody knows, Seed: 4, CFG scale: 2, Version: v1.10.1")
    texts.add_text("Comment", "<b>by hand</b>")
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG", pnginfo=texts)
    page = screen.page
    page.click("#tab_pnginfo-button")
    page.set_input_files("#pnginfo_file", {"name": "mill.png", "mimeType": "image/png", "buffer": buffer.getvalue()})
    answer = page.locator(".pnginfo .answer")
    expect(page.locator("#pnginfo_program")).to_contain_text("A1111")
    expect(answer.locator(".form-note li")).to_contain_text(["Nobody knows"])
    answer.get_by_text("Comment").click()
    expect(answer.get_by_text("<b>by hand</b>")).to_be_visible()
