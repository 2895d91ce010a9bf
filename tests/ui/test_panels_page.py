"""What extensions show, in a real browser: panels, pictures in them, cards of networks, scripts, tabs, settings."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, expect

from tests.api.site import make_model
from tests.ui.chromium import Screen
from tests.ui.conftest import POCKET_CARD, Site, start_server
from tests.ui.test_other_pages import make_image

pytestmark = pytest.mark.browser

EXAMPLE = Path(__file__).parent / "extensions" / "frames"
HOSTILE = ("hostile at once", "hostile when loaded", "hostile at an update")


def make_lora(path: Path, text_width: int) -> None:
    """Write a LoRA whose header is one of SD1 (768) or SDXL (2048)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    shapes = {f"{stem}.lora_down.weight": [1, text_width], f"{stem}.lora_up.weight": [320, 1]}
    header, end = {}, 0
    for key, (height, width) in shapes.items():
        size = height * width * 2
        header[key] = {"dtype": "F16", "shape": [height, width], "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with the example extension, two LoRAs of SD1 in a folder and out of it, and one of SDXL."""
    data_dir = tmp_path_factory.mktemp("extended")
    (make_model(data_dir / "models" / "Stable-diffusion", "pocket") / "easel.json").write_text(json.dumps(POCKET_CARD))
    loras = data_dir / "models" / "Lora"
    make_lora(loras / "Watercolour.safetensors", 768)
    make_lora(loras / "animals" / "Cats.safetensors", 768)
    make_lora(loras / "Film.safetensors", 2048)
    card = {"activation text": "watercolour style", "preferred weight": 0.8, "negative text": "photo"}
    (loras / "Watercolour.json").write_text(json.dumps(card))
    shutil.copytree(EXAMPLE, data_dir / "extensions" / "frames")
    site, process = start_server(data_dir)
    try:
        yield site
    finally:
        site.client.close()
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture
def site(extended: Site) -> Iterator[Site]:
    yield extended
    extended.finish_all()


def open_screen(context: BrowserContext, site: Site) -> Screen:
    screen = Screen(context.new_page(), site.url)
    screen.expected_errors += HOSTILE
    screen.open()
    return screen


@pytest.fixture
def screen(site: Site, context: BrowserContext) -> Iterator[Screen]:
    opened = open_screen(context, site)
    yield opened
    opened.assert_clean()


def panel(screen: Screen, page: str = "txt2img") -> Locator:
    return screen.page.locator(f"#{page}_frames")


def field(screen: Screen, name: str) -> Locator:
    return screen.page.locator(f"#txt2img_frames_{name}")


def generate(screen: Screen, site: Site) -> dict[str, Any]:
    screen.generate()
    screen.wait_for("finished")
    return site.jobs(1)[0]


def test_a_panel_is_changed_sent_kept_and_comes_back(screen: Screen, site: Site) -> None:
    screen.fill(prompt="a fox", steps=1)
    assert "frames" not in generate(screen, site)["request"]["extensions"]
    panel(screen).locator(".group-switch input").check()
    expect(field(screen, "depth")).to_be_hidden()
    field(screen, "style").locator("select").select_option(label="Carved")
    expect(field(screen, "depth")).to_be_visible()
    field(screen, "width").locator("input[type=number]").fill("12")
    field(screen, "tone_input_warmth").locator("input[type=number]").fill("0.5")
    expect(panel(screen).locator(".group-words")).to_have_text("Width of the frame 12 · Style Carved")
    job = generate(screen, site)
    said = {"enabled": True, "width": 12, "style": "carved"}
    assert job["request"]["extensions"]["frames"] == {**said, "tone": {"warmth": 0.5}}
    assert "Frame width: 12" in screen.infotext
    screen.reload()
    expect(field(screen, "width").locator("input[type=number]")).to_have_value("12")
    panel(screen).get_by_text("Reset to defaults").click()
    expect(field(screen, "width").locator("input[type=number]")).to_have_value("8")
    expect(panel(screen).locator(".group-words")).to_have_text("on")
    picture = site.client.get(f"/api/v2/jobs/{job['id']}/images/0").content
    screen.page.click("#tab_pnginfo-button")
    screen.page.set_input_files("#pnginfo_file", {"name": "x.png", "mimeType": "image/png", "buffer": picture})
    screen.page.click("#pnginfo_send_to_txt2img")
    expect(field(screen, "width").locator("input[type=number]")).to_have_value("12")
    assert generate(screen, site)["request"]["extensions"]["frames"] == said


def test_units_hold_pictures_and_what_is_wrong_is_said_at_its_field(screen: Screen, site: Site) -> None:
    screen.fill(prompt="a fox", steps=1)
    panel(screen).locator(".group-switch input").check()
    units = field(screen, "units")
    units.locator(".unit-add").click()
    expect(units.locator(".unit-tab")).to_have_count(2)
    second = screen.page.locator("#txt2img_frames_units_input_1_image")
    content = make_image("")
    second.locator("input[type=file]").set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": content})
    expect(second.locator(".picture-shown img")).to_be_visible()
    expect(screen.page.locator("#txt2img_frames_units_input_1_enabled input")).to_be_checked()  # by its picture
    screen.page.locator("#txt2img_frames_units_input_1_preprocessor_options_input_low input[type=number]").fill("50")
    chosen = screen.page.locator("#txt2img_frames_units_input_1_preprocessor")
    chosen.get_by_text("Preview").click()
    expect(chosen.locator("img.preview-picture")).to_be_visible()
    sent = generate(screen, site)["request"]["extensions"]["frames"]["units"]
    reference = sent[1].pop("image")
    assert sent == [{}, {"enabled": True, "preprocessor_options": {"low": 50}}]
    assert site.client.get(f"/api/v2/inputs/{reference}").status_code == 200
    chosen.locator("select").select_option(label="Plain")
    expect(screen.page.locator("#txt2img_frames_units_input_1_preprocessor_options")).to_be_hidden()
    weight = screen.page.locator("#txt2img_frames_units_input_1_weight")
    weight.locator("input[type=number]").fill("7")
    units.locator(".unit-tab").first.click()
    screen.page.click("#txt2img_generate")
    expect(weight.locator(".field-problem")).to_contain_text("less than or equal to 2")
    expect(weight.locator(".field-problem")).to_be_in_viewport()
    second.get_by_text("Remove", exact=True).click()
    units.get_by_text("Remove Unit 2").click()
    expect(units.locator(".unit-tab")).to_have_count(1)
    assert generate(screen, site)["request"]["extensions"]["frames"] == {"enabled": True}


def test_a_mask_is_painted_over_the_picture_of_a_unit(screen: Screen, site: Site) -> None:
    panel(screen).locator(".group-switch input").check()
    place = screen.page.locator("#txt2img_frames_units_input_0_image")
    content = make_image("")
    place.locator("input[type=file]").set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": content})
    expect(place.locator(".picture-shown img")).to_be_visible()
    mask = screen.page.locator("#txt2img_frames_units_input_0_mask")
    photos = field(screen, "photos")
    file = {"name": "x.png", "mimeType": "image/png"}
    photos.locator("input[type=file]").set_input_files(
        [{**file, "buffer": make_image("")}, {**file, "buffer": make_image("another")}]  # type: ignore[typeddict-item]
    )
    expect(photos.locator(".picture-item")).to_have_count(2)
    photos.locator(".close").first.click()
    expect(photos.locator(".picture-item")).to_have_count(1)
    mask.get_by_text("Paint", exact=True).click()
    stage = screen.page.locator(".mask-dialog canvas")
    expect(screen.page.locator(".mask-dialog img")).to_be_visible()
    stage.click(position={"x": 100, "y": 100})
    screen.page.get_by_text("Use this mask").click()
    expect(mask.locator(".picture-shown img")).to_be_visible()


def test_cards_write_their_tags_into_the_prompt(screen: Screen, site: Site) -> None:
    page = screen.page
    screen.field("prompt").fill("a fox")
    page.click("#txt2img_extra_networks")
    cards = page.locator("#txt2img_lora_cards .network-card")
    expect(cards).to_have_count(2)  # that of SDXL does not fit
    card = page.locator(".network-card[data-name=Watercolour]")
    card.locator(".network-use").click()
    expect(screen.field("prompt")).to_have_value("a fox <lora:Watercolour:0.8>, watercolour style")
    expect(screen.field("negative_prompt")).to_have_value("photo")
    expect(card.locator(".network-use")).to_have_attribute("aria-pressed", "true")
    card.locator(".network-use").click()
    expect(screen.field("prompt")).to_have_value("a fox")
    expect(screen.field("negative_prompt")).to_have_value("")
    screen.field("negative_prompt").focus()
    page.locator("#txt2img_extra_tabs select[aria-label=Folder]").select_option("animals")
    expect(cards).to_have_count(1)
    cards.locator(".network-use").click()
    expect(screen.field("negative_prompt")).to_have_value("<lora:animals/Cats:1>")
    page.locator("#txt2img_extra_tabs select[aria-label=Folder]").select_option("")
    page.locator("#txt2img_extra_tabs .network-switch").click()
    expect(cards).to_have_count(3)
    cards.locator(".network-edit").last.click()
    expect(page.locator(".card-dialog")).to_be_visible()
    page.click("#card_close")
    page.fill("#txt2img_extra_search", "film")
    expect(cards).to_have_count(1)
    page.locator("#txt2img_extra_tabs [role=tab][value=checkpoint]").click()
    page.fill("#txt2img_extra_search", "")
    expect(page.locator("#txt2img_checkpoint_cards .network-card.on")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator(".networks").first).to_be_hidden()


def test_a_hostile_script_stops_neither_the_page_nor_other_scripts(screen: Screen, site: Site) -> None:
    page = screen.page
    expect(screen.field("prompt")).to_have_value("written by a script")
    assert page.evaluate("[window.hostileRan, document.body.dataset.polite.trim()]") == [True, "function tab_txt2img"]
    page.wait_for_function("document.body.dataset.wood === 'oak'")
    style = "getComputedStyle(document.getElementById('txt2img_frames')).getPropertyValue('--frames-style').trim()"
    assert page.evaluate(style) == "arrived"
    german = "fetch('file=extensions/frames/localizations/de.json').then((answer) => answer.json())"
    assert page.evaluate(german)["Frames"] == "Rahmen"
    screen.fill(prompt="a fox", steps=1)
    assert generate(screen, site)["state"] == "finished"
    page.click("#tab_frames-button")
    expect(page.frame_locator("#tab_frames iframe").locator("#answer")).to_contain_text("frames")
    page.click("#tab_settings-button")
    page.fill("#setting_frames_wood", "a wood with a very long name")
    page.click("#settings_submit")
    screen.expected_errors.append("/api/v2/settings")
    screen.expected_errors.append("422")
    expect(page.locator("#row_frames_wood .field-problem")).to_be_visible()
    page.fill("#setting_frames_wood", "pine")
    page.click("#settings_submit")
    expect(page.locator("#settings_submit")).to_be_disabled()
    assert site.client.get("/api/v2/settings").json()["extensions"][-1]["values"] == {"frames_wood": "pine"}
    site.change_settings(frames_wood="oak")


def test_extensions_bring_german_and_fit_a_phone(browser: Browser, site: Site) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, locale="de-DE")
    screen = open_screen(context, site)
    expect(panel(screen).locator(".group-name")).to_have_text("Bilderrahmen")
    expect(screen.page.locator("#tab_settings-button")).to_have_text("Einstellungen")
    panel(screen).locator(".group-switch input").check()
    expect(field(screen, "width").locator("label").first).to_have_text("Breite des Rahmens")
    screen.page.click("#txt2img_extra_networks")
    expect(screen.page.locator("#txt2img_lora_cards .network-card").first).to_be_visible()
    assert screen.page.evaluate("document.documentElement.scrollWidth") <= 390
    screen.assert_clean()
    context.close()
