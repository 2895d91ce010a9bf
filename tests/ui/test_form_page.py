"""What the form does in a real browser: problems at their field, models, tools, what survives, hostile names."""

from __future__ import annotations

import re
import shutil

import pytest
from playwright.sync_api import expect

from tests.api.site import make_model
from tests.ui.chromium import Screen
from tests.ui.conftest import HOSTILE, Site

pytestmark = pytest.mark.browser


def test_the_model_proposes_its_own_values_at_the_start(screen: Screen) -> None:
    assert screen.values("width", "height", "steps", "guidance", "sampler", "schedule") == {
        "width": "128",
        "height": "128",
        "steps": "12",
        "guidance": "5",
        "sampler": "Euler a",
        "schedule": "Karras",
    }
    expect(screen.page.locator("#txt2img_distilled_cfg_scale")).to_be_hidden()  # it is told none


def test_a_wrong_value_is_named_at_its_field_and_nothing_is_lost(screen: Screen, site: Site) -> None:
    before = len(site.jobs())
    screen.fill(prompt="stays", width=100, seed=-7)
    screen.generate()
    expect(screen.page.locator("#txt2img_width .field-problem")).to_have_text("Width: must be a multiple of 8")
    expect(screen.page.locator("#txt2img_seed .field-problem")).to_have_text("Seed: must be at least -1")
    assert screen.field("width").get_attribute("aria-invalid") == "true"
    assert screen.values("prompt", "width", "seed") == {"prompt": "stays", "width": "100", "seed": "-7"}
    assert len(site.jobs()) == before
    screen.fill(width=104, seed=3)
    expect(screen.page.locator(".field-problem")).to_have_count(0)
    screen.generate()
    screen.wait_for("finished")
    assert site.jobs(1)[0]["plan"]["width"] == 104


def test_what_the_planner_refuses_is_said_at_its_field(screen: Screen) -> None:
    screen.fill(width=2048, height=2048, batch_size=16, batch_count=100)
    screen.generate()
    expect(screen.page.locator(".field-problem")).to_contain_text("Lower the batch count")
    assert screen.values("batch_size", "batch_count") == {"batch_size": "16", "batch_count": "100"}


def test_another_model_proposes_and_keeps_what_was_typed(screen: Screen, site: Site) -> None:
    screen.fill(steps=33)
    screen.choose("model", "large")
    expect(screen.field("width")).to_have_value("512")
    note = screen.page.locator("#txt2img_note")
    expect(note).to_contain_text("large proposed:")
    expect(note).to_contain_text("Your own values were kept: Sampling steps.")
    assert screen.values("height", "steps", "sampler") == {"height": "512", "steps": "33", "sampler": "DPM++ 2M"}
    assert site.settings()["sd_model_checkpoint"].startswith("large")
    screen.choose("model", "pocket")
    expect(screen.field("width")).to_have_value("128")
    assert screen.values("steps") == {"steps": "33"}


def test_a_broken_model_explains_itself(screen: Screen, site: Site) -> None:
    screen.choose("model", "broken")
    expect(screen.page.locator("#setting_sd_model_checkpoint .field-problem")).to_contain_text("broken")
    expect(screen.field("model")).to_have_value(re.compile(r"pocket \[[0-9a-f]{10}\]"))
    assert site.settings()["sd_model_checkpoint"].startswith("pocket")


def test_refresh_finds_a_new_model(screen: Screen, site: Site) -> None:

    make_model(site.data_dir / "models" / "Stable-diffusion", "late")
    screen.fill(prompt="stays")
    screen.page.click("#refresh_sd_model_checkpoint")
    screen.page.wait_for_timeout(300)
    screen.choose("model", "late")
    expect(screen.page.locator("#txt2img_note")).to_contain_text("late proposed")
    assert screen.values("prompt") == {"prompt": "stays"}


def test_what_is_wrong_with_a_model_can_be_read(screen: Screen, site: Site) -> None:
    model = make_model(site.data_dir / "models" / "Stable-diffusion", "short-lived")
    screen.page.click("#refresh_sd_model_checkpoint")
    screen.page.wait_for_timeout(300)
    screen.choose("model", "short-lived")
    expect(screen.page.locator("#txt2img_note")).to_contain_text("short-lived proposed")
    screen.expected_errors.append("/api/v2/tokens")  # its tokenizer is gone, too
    shutil.rmtree(model)
    screen.generate()
    problem = screen.page.locator("#setting_sd_model_checkpoint .field-problem")
    expect(problem).to_contain_text("cannot be read")
    shown, block = problem.bounding_box(), screen.page.locator("#setting_sd_model_checkpoint").bounding_box()
    assert shown and block and shown["y"] + shown["height"] <= block["y"] + block["height"] + 1
    screen.choose("model", "pocket")


def test_examples_fill_an_empty_prompt(screen: Screen) -> None:
    chips = screen.page.locator("#txt2img_examples .chip")
    expect(chips).to_have_count(2)
    expect(chips.nth(1)).to_have_text("<b>a blue cat</b>")
    chips.first.click()
    expect(screen.field("prompt")).to_have_value("a red house under a yellow moon, night sky")
    expect(chips.first).to_be_hidden()


def test_tools(screen: Screen, site: Site) -> None:
    screen.fill(prompt="a tool test", negative_prompt="none", width=192, height=64, seed=9, steps=3, guidance=2)
    screen.page.click("#txt2img_res_switch_btn")
    assert screen.values("width", "height") == {"width": "64", "height": "192"}
    screen.generate()
    screen.wait_for("finished")
    screen.page.click("#txt2img_random_seed")
    assert screen.values("seed") == {"seed": "-1"}
    screen.page.click("#txt2img_reuse_seed")
    assert screen.values("seed") == {"seed": "9"}
    assert site.jobs(1)[0]["plan"]["width"] == 64
    screen.fill(steps=20, seed=-1)
    screen.page.click("#txt2img_clear_prompt")
    assert screen.values("prompt", "negative_prompt") == {"prompt": "", "negative_prompt": ""}
    screen.page.click("#txt2img_paste")
    expect(screen.field("prompt")).to_have_value("a tool test")
    assert screen.values("negative_prompt", "steps", "seed", "guidance") == {
        "negative_prompt": "none",
        "steps": "3",
        "seed": "9",
        "guidance": "2",
    }


def test_hostile_names_stay_text(screen: Screen, site: Site) -> None:
    attack = "<img src=x onerror=window.hacked=2><script>window.hacked=3</script>${window.hacked=4}{{x}}"
    screen.choose("model", HOSTILE)
    expect(screen.page.locator("#txt2img_note")).to_contain_text(f"{HOSTILE} proposed")
    screen.fill(prompt=attack, negative_prompt=attack, width=64, height=64, steps=1)
    screen.generate()
    screen.wait_for("finished")
    expect(screen.page.locator(".infotext-prompt")).to_have_text(attack)
    screen.page.click(".stage-tools .icon-paste")
    expect(screen.page.locator(".toast")).to_be_visible()
    assert screen.page.evaluate("window.hacked === undefined")


def test_scripts_for_a1111_find_what_they_look_for(screen: Screen) -> None:
    ids = [
        "txt2img_prompt", "txt2img_neg_prompt", "txt2img_generate", "txt2img_interrupt", "txt2img_skip",
        "txt2img_sampling", "txt2img_scheduler", "txt2img_steps", "txt2img_width", "txt2img_height",
        "txt2img_cfg_scale", "txt2img_seed", "txt2img_random_seed", "txt2img_reuse_seed",
        "txt2img_batch_count", "txt2img_batch_size", "txt2img_gallery", "html_info_txt2img",
        "html_log_txt2img", "txt2img_res_switch_btn", "setting_sd_model_checkpoint",
        "refresh_sd_model_checkpoint", "tab_txt2img", "tab_pnginfo", "tab_settings", "settings_submit",
        "tabs", "quicksettings",
    ]  # fmt: skip
    missing = screen.page.evaluate("ids => ids.filter(id => !gradioApp().getElementById(id))", ids)
    assert missing == []
    twice = screen.page.evaluate(
        "() => [...document.querySelectorAll('[id]')].map(e => e.id)"
        ".filter((id, place, all) => id && all.indexOf(id) !== place)"
    )
    assert twice == []
    assert screen.page.evaluate("gradioApp().querySelector('#txt2img_prompt > label > textarea').tagName") == "TEXTAREA"
    assert screen.page.evaluate("get_uiCurrentTab().textContent") == "txt2img"
    screen.page.evaluate(
        "() => { const e = gradioApp().querySelector('#txt2img_prompt textarea'); e.value = 'typed by a script';"
        " updateInput(e); window.ran = 0; onUiLoaded(() => window.ran++); onUiTabChange(() => window.ran++); }"
    )
    screen.page.click("#tab_pnginfo-button")
    assert screen.page.evaluate("window.ran") == 2
    screen.page.click("#tab_txt2img-button")
    screen.fill(steps=1)
    screen.generate()
    screen.wait_for("finished")
    assert "typed by a script" in screen.infotext


def test_the_page_stays_light(screen: Screen) -> None:
    components = screen.page.evaluate("window.gradio_config.components.length")
    assert components <= 170, components
    unnamed = screen.page.evaluate(
        "() => [...document.querySelectorAll('button, input, textarea, select, a[href]')].filter(e => e.offsetParent"
        " && !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length || e.title))"
        ".map(e => e.outerHTML)"
    )
    assert unnamed == []
