"""The prompts' corner and the styles in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.ui.chromium import Screen
from tests.ui.conftest import Site

pytestmark = pytest.mark.browser


def test_tokens_are_counted_while_typing(screen: Screen) -> None:
    counter = screen.page.locator("#txt2img_token_counter")
    expect(counter).to_have_text("0/75")
    screen.fill(prompt="a (cat:1.3)")  # in this site's models each letter is a token
    expect(counter).to_have_text("4/75")
    screen.fill(prompt="cat " * 30, negative_prompt="dog")
    expect(counter).to_have_text("90/150")
    expect(screen.page.locator("#txt2img_negative_token_counter")).to_have_text("3/75")


def test_a_chosen_style_reaches_the_picture_and_survives_a_reload(screen: Screen, site: Site) -> None:
    styles = site.data_dir / "styles.csv"
    styles.write_text('name,prompt\nfilm,"film of {prompt}"\n<b>ink</b>,ink\n', encoding="utf-8")
    try:
        screen.reload()
        screen.fill(prompt="a cat")
        screen.page.locator("#txt2img_styles input").click()
        screen.page.locator("ul[role=listbox] li", has_text="film").click()
        screen.page.locator("#txt2img_prompt textarea").click()
        screen.generate()
        screen.wait_for("finished")
        first = site.jobs(1)[0]
        screen.reload()
        expect(screen.page.locator("#txt2img_styles .token")).to_have_text(re.compile("film"))
        screen.fill(prompt="a dog")
        screen.generate()
        screen.wait_for("finished")
        second = site.jobs(1)[0]
    finally:
        styles.unlink()
    assert first["request"]["styles"] == second["request"]["styles"] == ["film"]
    assert first["plan"]["images"][0]["prompt"] == "film of a cat"
    assert second["plan"]["images"][0]["prompt"] == "film of a dog"
    screen.reload()  # a style that is gone is not chosen any more
    expect(screen.page.locator("#txt2img_styles .token")).to_have_count(0)
