"""PNG info, settings, the tab bar, the state line and the looks, in a real browser."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from tests.ui.chromium import Screen
from tests.ui.conftest import Site
from webui.images.encode import encode_png

pytestmark = pytest.mark.browser

MADE_WITH = {
    "prompt": "a prompt, (weighted:1.2)\nwith a second line",
    "negative_prompt": "ugly, blurry",
    "steps": "9",
    "width": "192",
    "height": "64",
    "guidance": "3.5",
    "seed": "123456789",
    "clip_skip": "2",
    "sampler": "LMS",
    "schedule": "Uniform",
}
OTHERWISE = {
    "prompt": "something else",
    "negative_prompt": "",
    "steps": "20",
    "width": "512",
    "height": "512",
    "guidance": "7",
    "seed": "-1",
    "clip_skip": "1",
    "sampler": "DDIM",
    "schedule": "Karras",
}


def upload(screen: Screen, content: bytes, name: str = "picture.png", media_type: str = "image/png") -> None:
    screen.page.set_input_files("#pnginfo_file", {"name": name, "mimeType": media_type, "buffer": content})


def make_image(infotext: str) -> bytes:
    return encode_png(Image.new("RGB", (64, 64), "teal"), infotext)


def test_every_field_comes_back_from_the_picture(screen: Screen, site: Site) -> None:
    screen.choose("model", "large")
    expect(screen.page.locator("#txt2img_note")).to_contain_text("large proposed")
    screen.fill(**MADE_WITH)
    screen.generate()
    screen.wait_for("finished")
    made = site.jobs(1)[0]["images"][0]
    picture = (site.data_dir / "outputs" / made["path"]).read_bytes()
    screen.choose("model", "pocket")
    screen.fill(**OTHERWISE)
    screen.page.click("#tab_pnginfo-button")
    upload(screen, picture)
    expect(screen.page.locator("#html_info_pnginfo")).to_have_text(made["infotext"])
    screen.page.click("#pnginfo_send_to_txt2img")
    expect(screen.page.locator("#tab_txt2img")).to_be_visible()
    expect(screen.field("seed")).to_have_value(MADE_WITH["seed"])
    assert screen.values(*MADE_WITH) == MADE_WITH
    expect(screen.field("model")).to_have_value(re.compile(r"large \[[0-9a-f]{10}\]"))
    screen.generate()
    screen.wait_for("finished")
    again = site.jobs(1)[0]
    assert again["images"][0]["infotext"] == made["infotext"]
    assert (site.data_dir / "outputs" / again["images"][0]["path"]).read_bytes() == picture


def test_what_cannot_be_taken_over_is_said(screen: Screen) -> None:
    screen.page.click("#tab_pnginfo-button")
    upload(screen, make_image("a cat\nSteps: 5, Sampler: Nobody knows, Seed: 4, Model: nowhere-to-be-found, Tiling: 7"))
    screen.page.click("#pnginfo_send_to_txt2img")
    expect(screen.field("seed")).to_have_value("4")
    assert screen.values("prompt", "steps") == {"prompt": "a cat", "steps": "5"}
    note = screen.page.locator("#txt2img_note")
    expect(note).to_contain_text("Not taken over:")
    expect(note).to_contain_text("Nobody knows")
    expect(note).to_contain_text("nowhere-to-be-found")


def test_files_without_parameters_and_files_that_are_no_pictures(screen: Screen) -> None:
    screen.expected_errors.append("/png-info")
    screen.page.click("#tab_pnginfo-button")
    plain = io.BytesIO()
    Image.new("RGB", (64, 32)).save(plain, "PNG")
    upload(screen, plain.getvalue())
    answer = screen.page.locator(".pnginfo .answer")
    expect(answer).to_contain_text("This picture carries no generation parameters")
    upload(screen, b"<script>window.hacked=1</script>", "<img src=x onerror=window.hacked=1>.png")
    expect(answer.locator("[role=alert]")).to_be_visible()
    assert screen.page.evaluate("window.hacked === undefined")


def test_a_picture_dropped_on_the_prompt_brings_its_settings(screen: Screen) -> None:
    drop_on_prompt(
        screen, make_image("dropped <b>words</b>\nNegative prompt: rain\nSteps: 11, Sampler: Euler, Seed: 8")
    )
    expect(screen.field("prompt")).to_have_value("dropped <b>words</b>")
    assert screen.values("negative_prompt", "steps", "seed", "sampler") == {
        "negative_prompt": "rain",
        "steps": "11",
        "seed": "8",
        "sampler": "Euler",
    }


def drop_on_prompt(screen: Screen, content: bytes) -> None:
    screen.page.evaluate(
        """content => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(content)], "x.png", {type: "image/png"}));
            const target = document.querySelector("#txt2img_prompt textarea");
            target.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
        }""",
        list(content),
    )


def test_a_setting_is_saved_and_shown_again(screen: Screen, site: Site) -> None:
    screen.page.click("#tab_settings-button")
    apply = screen.page.locator("#settings_submit")
    expect(screen.page.locator("#setting_samples_save")).to_be_checked()
    expect(apply).to_be_disabled()
    screen.page.locator("#setting_samples_filename_pattern").fill("[seed]-<b>x</b>")
    screen.page.locator("#setting_samples_save").uncheck()
    expect(screen.page.locator(".settings-bar")).to_contain_text("2 changes")
    apply.click()
    expect(screen.page.locator(".toast")).to_contain_text("Settings saved")
    assert site.settings()["samples_filename_pattern"] == "[seed]-<b>x</b>"
    assert site.settings()["samples_save"] is False
    screen.reload()  # the address remembers the page
    expect(screen.page.locator("#setting_samples_filename_pattern")).to_have_value("[seed]-<b>x</b>")
    site.change_settings(samples_filename_pattern="")


def test_a_wrong_setting_is_named_and_nothing_is_saved(screen: Screen, site: Site) -> None:
    screen.expected_errors.append("/settings")
    before = site.settings()
    screen.page.click("#tab_settings-button")
    screen.page.locator("#setting_show_progress_every_n_steps").fill("9999")
    screen.page.locator("#setting_samples_save").uncheck()
    screen.page.click("#settings_submit")
    problem = screen.page.locator("#row_show_progress_every_n_steps .field-problem")
    expect(problem).to_contain_text("150")
    assert site.settings() == before


def test_the_search_narrows_the_settings(screen: Screen) -> None:
    screen.page.click("#tab_settings-button")
    expect(screen.page.locator("#row_samples_save")).to_be_visible()
    screen.page.fill("#settings_search", "progress_every")
    expect(screen.page.locator(".setting:visible")).to_have_count(1)
    screen.page.fill("#settings_search", "no such thing")
    expect(screen.page.get_by_text("No setting matches.")).to_be_visible()


def test_the_tab_bar_by_keyboard_and_address(screen: Screen) -> None:
    screen.page.locator("#tab_txt2img-button").focus()
    screen.page.keyboard.press("ArrowRight")
    expect(screen.page.locator("#tab_img2img")).to_be_visible()
    expect(screen.page.locator("#tab_txt2img")).to_be_hidden()
    assert screen.page.evaluate("document.activeElement.id") == "tab_img2img-button"
    screen.page.keyboard.press("End")
    assert screen.page.url.endswith("#tab_settings")
    screen.page.keyboard.press("ArrowRight")
    assert screen.page.locator("#tab_txt2img-button").get_attribute("aria-selected") == "true"
    screen.open("#tab_pnginfo")
    expect(screen.page.locator("#tab_pnginfo")).to_be_visible()


def test_a_lost_server_is_said_and_found_again(screen: Screen) -> None:
    screen.expected_errors += ["/status", "net::ERR_FAILED", "Failed to fetch"]
    banner = screen.page.locator("#easel_lost")
    expect(banner).to_be_hidden()
    screen.page.route("**/api/v2/status", lambda route: route.abort())
    expect(banner).to_be_visible()
    screen.page.unroute("**/api/v2/status")
    expect(banner).to_be_hidden()


def test_the_state_line(screen: Screen) -> None:
    line = screen.page.locator(".state-line")
    expect(line).to_contain_text(re.compile(r"Ready · stub · .*server \d+ MB"))
    expect(line).to_contain_text(re.compile(r"Easel \d+\.\d+"))
    expect(screen.page.locator(".problems")).to_contain_text("broken")


def test_the_theme_follows_the_system_and_the_button(screen: Screen, browser: Browser, site: Site) -> None:
    context = browser.new_context(color_scheme="dark")
    dark = Screen(context.new_page(), site.url)
    dark.open()
    assert dark.page.evaluate("document.body.classList.contains('dark')")
    dark.page.click(".icon-theme")
    assert not dark.page.evaluate("document.body.classList.contains('dark')")
    dark.reload()
    assert not dark.page.evaluate("document.body.classList.contains('dark')")
    dark.assert_clean()
    context.close()
    assert not screen.page.evaluate("document.body.classList.contains('dark')")


def test_it_speaks_german(browser: Browser, site: Site) -> None:
    context = browser.new_context(locale="de-DE")
    german = Screen(context.new_page(), site.url)
    german.open()
    expect(german.page.locator("#txt2img_generate")).to_have_text("Erzeugen")
    expect(german.page.locator("#tab_settings-button")).to_have_text("Einstellungen")
    german.fill(width=100)
    german.generate()
    expect(german.page.locator(".field-problem")).to_have_text("Breite: muss ein Vielfaches von 8 sein")
    german.assert_clean()
    context.close()


@pytest.mark.parametrize(
    "page_hash", ["#tab_txt2img", "#tab_img2img", "#tab_extras", "#tab_models", "#tab_pnginfo", "#tab_settings"]
)
def test_a_phone_needs_no_sideways_scrolling(browser: Browser, site: Site, page_hash: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    phone = Screen(context.new_page(), site.url)
    phone.open(page_hash)
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    outside = phone.page.evaluate(
        "() => [...document.querySelectorAll('button, input:not([type=file]), textarea, select')]"
        ".filter(e => e.offsetParent && e.getBoundingClientRect().right > 391).map(e => e.outerHTML.slice(0, 200))"
    )
    assert outside == []
    phone.assert_clean()
    context.close()
