"""The folded groups of controls in a real browser: what they send, show, remember and take over."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.ui.chromium import Screen
from tests.ui.conftest import Site
from tests.ui.test_other_pages import drop_on_prompt, make_image

pytestmark = pytest.mark.browser


def group(screen: Screen, name: str, page: str = "txt2img") -> Locator:
    return screen.page.locator(f"#tab_{page} .group[data-part={name}]")


def switch_on(screen: Screen, name: str, page: str = "txt2img") -> Locator:
    found = group(screen, name, page)
    found.locator(".group-switch input").check()
    expect(found.locator(".group-body")).to_be_visible()
    return found


def fill(screen: Screen, identity: str, value: object) -> None:
    """Fill a field of a group, whatever it is made of."""
    place = screen.page.locator(f"#{identity}")
    if place.locator("select").count():
        place.locator("select").select_option(label=str(value))
    else:
        place.locator("textarea, input[type=number], input[type=text]").fill(str(value))


def generate(screen: Screen, site: Site) -> dict[str, Any]:
    screen.generate()
    screen.wait_for("finished")
    return site.jobs(1)[0]


def test_what_is_off_is_not_sent(screen: Screen, site: Site) -> None:
    screen.fill(prompt="plain", steps=1)
    request = generate(screen, site)["request"]
    assert [request[part] for part in ("hires", "refiner", "variation", "script")] == [None] * 4
    assert (request["tiling"], request["vae"], request["guiding"]["rescale"]) == ("none", "Automatic", 0)


def test_a_second_pass_makes_the_picture_larger(screen: Screen, site: Site) -> None:
    screen.fill(prompt="a fox", steps=2, seed=5)
    words = switch_on(screen, "hires").locator(".group-words")
    expect(words).to_have_text("from 128×128 to 256×256")
    fill(screen, "txt2img_hr_scale", 1.5)
    expect(words).to_have_text("from 128×128 to 192×192")
    screen.fill(width=192)
    expect(words).to_have_text("from 192×128 to 288×192")
    fill(screen, "txt2img_hr_upscaler", "Lanczos")
    fill(screen, "txt2img_hires_steps", 3)
    fill(screen, "txt2img_denoising_strength", 0.45)
    screen.page.locator("#txt2img_hr summary").click()
    fill(screen, "hr_sampler", "Euler")
    fill(screen, "hires_prompt", "a fox, close")
    job = generate(screen, site)
    assert (job["images"][0]["width"], job["images"][0]["height"]) == (288, 192)
    hires = job["request"]["hires"]
    assert (hires["upscaler"], hires["steps"], hires["strength"], hires["sampler"]) == ("Lanczos", 3, 0.45, "Euler")
    assert (hires["schedule"], hires["guidance"], hires["model"], hires["prompt"]) == (None, None, None, "a fox, close")
    screen.page.wait_for_function("document.querySelector('#txt2img_gallery img.picture').naturalWidth === 288")
    assert "Hires upscaler: Lanczos" in screen.infotext
    expect(screen.page.locator(".facts").first).to_contain_text("Lanczos, 0.45")


def test_the_size_follows_what_a_model_proposes(screen: Screen) -> None:
    words = switch_on(screen, "hires").locator(".group-words")
    expect(words).to_have_text("from 128×128 to 256×256")
    screen.choose("model", "large")
    expect(words).to_have_text("from 512×512 to 1024×1024")


@pytest.mark.parametrize(
    ("width", "height", "size"), [(320, 0, (320, 160)), (0, 320, (640, 320)), (320, 320, (320, 320))]
)
def test_a_size_may_be_named_instead(
    screen: Screen, site: Site, width: int, height: int, size: tuple[int, int]
) -> None:
    screen.fill(prompt="a fox", steps=1, width=256, height=128)
    words = switch_on(screen, "hires").locator(".group-words")
    fill(screen, "txt2img_hr_resize_x", width)
    fill(screen, "txt2img_hr_resize_y", height)
    expect(words).to_have_text(f"from 256×128 to {size[0]}×{size[1]}")
    image = generate(screen, site)["images"][0]
    assert (image["width"], image["height"]) == size


def test_a_refiner_is_chosen(screen: Screen, site: Site) -> None:
    screen.fill(prompt="a fox", steps=2)
    words = switch_on(screen, "refiner").locator(".group-words")
    place = screen.page.locator("#txt2img_checkpoint select")
    place.select_option(value="large")
    fill(screen, "txt2img_switch_at", 0.6)
    expect(words).to_have_text("large from 60 %")
    assert generate(screen, site)["request"]["refiner"] == {"model": "large", "switch_at": 0.6}
    group(screen, "refiner").locator(".group-switch input").uncheck()
    expect(words).to_have_text("")
    expect(group(screen, "refiner").locator(".group-body")).to_be_hidden()
    assert generate(screen, site)["request"]["refiner"] is None


def test_variation_guidance_and_tiling_are_sent_from_both_pages(screen: Screen, site: Site) -> None:
    for page in ("txt2img", "img2img"):
        screen.page.click(f"#tab_{page}-button")
        switch_on(screen, "variation", page)
        fill(screen, f"{page}_subseed", 11)
        fill(screen, f"{page}_subseed_strength", 0.25)
        fill(screen, f"{page}_seed_resize_from_w", 256)
        switch_on(screen, "guiding", page)
        fill(screen, f"{page}_cfg_rescale", 0.7)
        fill(screen, f"{page}_guidance_end", 0.8)
        screen.page.locator(f"#{page}_tiling select").select_option(label="Left to right")
        expect(group(screen, "variation", page).locator(".group-words")).to_have_text("25 % of seed 11")
        expect(group(screen, "guiding", page).locator(".group-words")).to_have_text("rescale 0.7 · 0 % – 80 %")
        parts = screen.page.locator(f"#{page}_parts").locator("textarea, input").first.input_value()
        assert '"variation":{"seed":11,"strength":0.25,"resize_from_width":256}' in parts
    screen.page.click("#tab_txt2img-button")
    screen.fill(prompt="a fox", steps=1)
    request = generate(screen, site)["request"]
    assert request["variation"] == {
        "seed": 11, "strength": 0.25, "resize_from_width": 256, "resize_from_height": None,
    }  # fmt: skip
    assert (request["tiling"], request["guiding"]["rescale"], request["guiding"]["end"]) == ("x", 0.7, 0.8)
    facts = screen.page.locator(".facts").first
    for fact in ("Variation11 (0.25)", "CFG rescale0.7", "Guidance0 – 80 %", "TilingLeft to right"):
        expect(facts).to_contain_text(fact)


def test_the_vae_counts_at_once_and_is_remembered_as_a_setting(screen: Screen, site: Site) -> None:
    with screen.page.expect_response("**/api/v2/settings"):
        screen.page.locator("#setting_sd_vae select").select_option("None")
    screen.fill(prompt="a fox", steps=1)
    assert generate(screen, site)["request"]["vae"] == "None"
    assert site.settings()["sd_vae"] == "None"
    screen.reload()
    expect(screen.page.locator("#setting_sd_vae select")).to_have_value("None")
    site.change_settings(sd_vae="Automatic")


def test_groups_survive_a_reload_folded_as_they_were(screen: Screen, site: Site) -> None:
    switch_on(screen, "hires")
    fill(screen, "txt2img_hr_scale", 1.5)
    group(screen, "hires").locator(".group-title").click()
    group(screen, "guiding").locator(".group-title").click()
    fill(screen, "txt2img_cfg_rescale", 0.3)
    screen.reload()
    expect(group(screen, "hires").locator(".group-words")).to_have_text("from 128×128 to 192×192")
    expect(group(screen, "hires").locator(".group-body")).to_be_hidden()
    expect(group(screen, "guiding").locator(".group-body")).to_be_visible()
    expect(screen.page.locator("#txt2img_cfg_rescale input[type=number]")).to_have_value("0.3")
    screen.fill(prompt="a fox", steps=1)
    request = generate(screen, site)["request"]
    assert (request["hires"]["scale"], request["guiding"]["rescale"]) == (1.5, 0)


def test_a_problem_is_said_at_its_field_even_in_a_folded_group(screen: Screen, site: Site) -> None:
    before = len(site.jobs())
    switch_on(screen, "hires")
    fill(screen, "txt2img_hr_scale", 9)
    group(screen, "hires").locator(".group-title").click()
    screen.fill(prompt="a fox")
    screen.generate()
    problem = screen.page.locator("#txt2img_hr_scale .field-problem")
    expect(problem).to_have_text("must be at most 8")
    expect(problem).to_be_visible()
    switch_on(screen, "guiding")
    fill(screen, "txt2img_hr_scale", 2)
    fill(screen, "txt2img_guidance_start", 0.9)
    fill(screen, "txt2img_guidance_end", 0.1)
    screen.generate()
    expect(screen.page.locator("#txt2img_guidance_end .field-problem")).to_contain_text("cannot end")
    expect(problem).to_have_count(0)
    assert len(site.jobs()) == before


def test_the_settings_of_a_picture_bring_its_groups(screen: Screen, site: Site) -> None:
    screen.fill(prompt="a fox", steps=2, seed=3)
    switch_on(screen, "hires")
    fill(screen, "txt2img_hr_scale", 1.5)
    fill(screen, "txt2img_hr_upscaler", "Lanczos")
    switch_on(screen, "refiner")
    screen.page.locator("#txt2img_checkpoint select").select_option(value="large")
    first = generate(screen, site)
    fill(screen, "txt2img_hr_scale", 3)
    group(screen, "hires").locator(".group-switch input").uncheck()
    group(screen, "refiner").locator(".group-switch input").uncheck()
    switch_on(screen, "variation")
    screen.fill(prompt="something else")
    screen.page.click("#txt2img_gallery .stage-tools .icon-paste")
    expect(screen.field("prompt")).to_have_value("a fox")
    expect(group(screen, "hires").locator(".group-words")).to_have_text("from 128×128 to 192×192")
    expect(group(screen, "refiner").locator(".group-switch input")).to_be_checked()
    expect(group(screen, "variation").locator(".group-switch input")).not_to_be_checked()
    again = generate(screen, site)
    assert again["images"][0]["infotext"] == first["images"][0]["infotext"]


def test_what_no_field_shows_comes_along_and_can_be_taken_away(screen: Screen, site: Site) -> None:
    infotext = "a fox\nSteps: 2, Sampler: Euler a, Seed: 3, Size: 64x64, ENSD: 31337, Emphasis: No norm"
    drop_on_prompt(screen, make_image(infotext))
    chips = screen.page.locator("#txt2img_groups .carried .chip")
    expect(chips).to_have_text(["Eta noise seed delta: 31337×", "Emphasis mode: No norm×"])
    request = generate(screen, site)["request"]
    assert (request["sampling"]["seed_delta"], request["emphasis"]) == (31337, "No norm")
    screen.reload()
    screen.page.get_by_role("button", name="Without Eta noise seed delta: 31337").click()
    expect(chips).to_have_count(1)
    request = generate(screen, site)["request"]
    assert (request["sampling"]["seed_delta"], request["emphasis"]) == (None, "No norm")


def test_scripts_for_a1111_can_fill_a_group(screen: Screen, site: Site) -> None:
    screen.page.evaluate(
        """() => {
            const set = (selector, value) => {
                const field = gradioApp().querySelector(selector);
                field.value = value;
                updateInput(field);
            };
            gradioApp().querySelector("#txt2img_hr-checkbox input").click();
            set("#txt2img_hr_scale input[type=number]", 1.75);
            set("#txt2img_subseed input", 4);
        }"""
    )
    expect(group(screen, "hires").locator(".group-words")).to_have_text("from 128×128 to 224×224")
    assert '"scale":1.75' in screen.page.locator("#txt2img_parts").locator("textarea, input").first.input_value()


def test_a_script_is_chosen_and_told_its_options(screen: Screen, site: Site) -> None:
    script = screen.page.locator("#txt2img_script_list select").first
    script.select_option("X/Y/Z plot")
    fill(screen, "txt2img_script_x_type", "Steps")
    fill(screen, "txt2img_script_x_values", "1, 2")
    fill(screen, "txt2img_script_y_type", "Sampler")
    values = screen.page.locator("#txt2img_script_y_values")
    values.get_by_role("button", name="Heun", exact=True).click()
    values.get_by_role("button", name="DDIM", exact=True).click()
    expect(screen.page.locator("#txt2img_script_y_values input")).to_have_value("Heun, DDIM")
    screen.fill(prompt="a fox", seed=3)
    alone = generate(screen, site)
    assert [image["role"] for image in alone["images"]] == ["image"] * 4 + ["sheet"]
    expect(screen.thumbnails).to_have_count(0)  # made for the sheet, which alone is shown
    screen.page.locator("#txt2img_script_include_lone_images input").check()
    job = generate(screen, site)
    assert job["plan"]["kind"] == "series"
    assert job["request"]["script"]["name"] == "X/Y/Z plot"
    expect(screen.thumbnails).to_have_count(4)
    sheet = screen.page.locator("#txt2img_gallery .thumbnail-item").first
    expect(sheet).to_have_class("thumbnail-item sheet selected")
    expect(sheet).to_contain_text("Overview")
    screen.reload()
    expect(script).to_have_value("X/Y/Z plot")
    expect(screen.page.locator("#txt2img_script_y_values input")).to_have_value("Heun, DDIM")
    script.select_option("")
    expect(screen.page.locator("#txt2img_script_x_type")).to_have_count(0)
    screen.fill(steps=1)
    assert generate(screen, site)["request"]["script"] is None


def test_a_scripts_problem_is_said_where_it_is_chosen(screen: Screen, site: Site) -> None:
    screen.page.locator("#txt2img_script_list select").first.select_option("X/Y/Z plot")
    fill(screen, "txt2img_script_x_type", "Steps")
    fill(screen, "txt2img_script_x_values", "many")
    screen.fill(prompt="a fox")
    screen.generate()
    expect(screen.page.locator("#txt2img_script_x_values .field-problem")).to_contain_text("many")
    expect(screen.page.locator("#txt2img_script_list [aria-invalid]")).to_have_count(1)


def test_prompts_come_from_a_file(screen: Screen, site: Site) -> None:
    screen.page.locator("#txt2img_script_list select").first.select_option("Prompts from file or textbox")
    place = screen.page.locator("#txt2img_script_prompt_txt")
    place.locator("input[type=file]").set_input_files(
        {"name": "prompts.txt", "mimeType": "text/plain", "buffer": b"a cat\na dog\n"}
    )
    expect(place.locator("textarea")).to_have_value("a cat\na dog\n")
    screen.fill(steps=1)
    job = generate(screen, site)
    assert [part["images"][0]["prompt"] for part in job["plan"]["parts"]] == ["a cat", "a dog"]
