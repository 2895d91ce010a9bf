"""The main flow in a real browser: generate, watch, stop, reload, read."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.ui.chromium import Screen
from tests.ui.conftest import Site

pytestmark = pytest.mark.browser


def prompt_of(job: dict[str, Any]) -> str:
    return str(job["request"].get("prompt"))  # a job that only enlarges has none


def test_a_prompt_gives_a_picture_with_its_infotext(screen: Screen, site: Site) -> None:
    screen.fill(
        prompt="a red house under a yellow moon, night sky", negative_prompt="blurry", guidance=4.5, steps=7, seed=42
    )
    screen.generate()
    screen.wait_for("finished")
    screen.expect_picture()
    job = site.jobs(1)[0]
    assert job["source"] == "ui"
    assert (job["plan"]["guidance"], job["plan"]["steps"], job["images"][0]["seed"]) == (4.5, 7, 42)
    assert screen.infotext == job["images"][0]["infotext"]
    assert "a red house under a yellow moon, night sky\nNegative prompt: blurry\nSteps: 7" in screen.infotext
    content = screen.page.evaluate(
        "async () => [...new Uint8Array(await (await fetch(document.querySelector('img.picture').src)).arrayBuffer())]"
    )
    assert bytes(content) == (site.data_dir / "outputs" / job["images"][0]["path"]).read_bytes()


def test_each_image_of_a_batch_appears_when_it_is_done(screen: Screen, site: Site) -> None:
    site.hold_at(8)
    screen.fill(prompt="discs", steps=12, batch_count=3, seed=5)
    screen.generate()
    expect(screen.progress).to_contain_text("Step 7/12 · image 1 of 3")
    site.release()
    screen.wait_for("finished")
    expect(screen.thumbnails).to_have_count(3)
    expect(screen.progress).to_contain_text("3 images in")
    screen.thumbnails.nth(2).click()
    assert "Seed: 7," in screen.infotext
    screen.page.keyboard.press("ArrowLeft")
    assert "Seed: 6," in screen.infotext


def test_the_live_preview_is_shown_while_it_runs(screen: Screen, site: Site) -> None:
    site.hold_at(11)
    screen.fill(prompt="discs", steps=12)
    screen.generate()
    preview = screen.page.locator("#txt2img_gallery img.livePreview")
    expect(preview).to_be_visible()
    assert preview.evaluate("image => image.naturalWidth") > 0
    site.release()
    screen.wait_for("finished")
    screen.expect_picture()
    expect(preview).to_be_hidden()


def test_interrupt_keeps_what_was_finished(screen: Screen, site: Site) -> None:
    expect(screen.page.locator("#txt2img_interrupt")).to_be_disabled()
    screen.fill(prompt="discs", steps=4, batch_count=50)
    site.hold_at(4)
    screen.generate()
    expect(screen.progress).to_contain_text("Step 3/4")
    site.release()
    expect(screen.thumbnails.first).to_be_visible()
    site.hold_at(2)
    screen.page.click("#txt2img_interrupt")
    site.release()
    screen.wait_for("cancelled")
    job = site.jobs(1)[0]
    assert job["state"] == "cancelled"
    made = len([image for image in job["images"] if image["role"] == "image"])
    assert 1 <= made < 50
    expect(screen.thumbnails).to_have_count(made)
    expect(screen.progress).to_contain_text(f"Interrupted after {made} of 50 images")
    expect(screen.page.locator("#txt2img_interrupt")).to_be_disabled()


def test_skip_gives_up_one_image_and_goes_on(screen: Screen, site: Site) -> None:
    screen.fill(prompt="discs", steps=6, batch_count=2, seed=100)
    site.hold_at(3)
    screen.generate()
    expect(screen.progress).to_contain_text("Step 2/6")
    with screen.page.expect_response("**/skip"):
        screen.page.click("#txt2img_skip")
    site.release()
    screen.wait_for("finished")
    images = [image for image in site.jobs(1)[0]["images"] if image["role"] == "image"]
    assert [image["seed"] for image in images] == [101]
    screen.expect_picture()


def test_a_reload_in_the_middle_finds_the_job_again(screen: Screen, site: Site) -> None:
    screen.fill(prompt="kept through a reload", steps=9, seed=77, sampler="LMS")
    site.hold_at(4)
    screen.generate()
    expect(screen.progress).to_contain_text("Step 3/9")
    screen.reload()
    expect(screen.progress).to_contain_text("Step 3/9")
    assert screen.values("prompt", "steps", "seed", "sampler") == {
        "prompt": "kept through a reload",
        "steps": "9",
        "seed": "77",
        "sampler": "LMS",
    }
    site.release()
    screen.wait_for("finished")
    screen.expect_picture()
    assert "kept through a reload" in screen.infotext
    screen.reload()
    screen.expect_picture()  # the finished result too
    assert len([job for job in site.jobs() if prompt_of(job) == "kept through a reload"]) == 1


def test_generate_while_busy_queues(screen: Screen, site: Site) -> None:
    site.hold_at(2)
    screen.fill(prompt="first", steps=3)
    screen.generate()
    expect(screen.progress).to_contain_text("Step 1/3")
    screen.fill(prompt="second")
    screen.generate()
    expect(screen.page.locator(".queue-count")).to_contain_text("1 more in the queue")
    screen.fill(prompt="third")
    screen.generate()
    expect(screen.page.locator(".queue-count")).to_contain_text("2 more in the queue")
    site.release()
    expect(screen.page.locator("#html_info_txt2img .infotext-prompt")).to_have_text("third")
    screen.wait_for("finished")
    assert [prompt_of(job) for job in site.jobs(3)] == ["third", "second", "first"]
    assert {job["state"] for job in site.jobs(3)} == {"finished"}


def test_waiting_jobs_can_be_cancelled(screen: Screen, site: Site) -> None:
    site.hold_at(2)
    screen.fill(prompt="stays", steps=3)
    screen.generate()
    expect(screen.progress).to_contain_text("Step 1/3")
    screen.fill(prompt="goes")
    screen.generate()
    with screen.page.expect_response("**/interrupt"):
        screen.page.click(".queue-count .link")
    expect(screen.page.locator(".queue-count")).to_be_hidden()
    site.release()
    screen.wait_for("finished")
    assert [job["state"] for job in site.jobs(2)] == ["cancelled", "finished"]


def test_another_window_finds_the_running_job(screen: Screen, site: Site, context: BrowserContext) -> None:
    site.hold_at(3)
    screen.fill(prompt="discs", steps=5)
    screen.generate()
    expect(screen.progress).to_contain_text("Step 2/5")
    assert context.browser
    elsewhere = context.browser.new_context()
    other = Screen(elsewhere.new_page(), site.url)
    other.open()
    expect(other.progress).to_contain_text("Step 2/5")
    site.release()
    other.wait_for("finished")
    other.assert_clean()
    elsewhere.close()
    screen.wait_for("finished")


def test_keys(screen: Screen, site: Site) -> None:
    before = len(site.jobs())
    site.hold_at(2)
    screen.field("prompt").click()
    screen.page.keyboard.type("one")
    screen.page.keyboard.press("Enter")
    screen.page.keyboard.type("two")
    assert screen.field("prompt").input_value() == "one\ntwo"
    assert len(site.jobs()) == before
    screen.page.keyboard.press("Control+Enter")
    expect(screen.progress).to_contain_text("Step 1/")
    with screen.page.expect_response("**/interrupt"):
        screen.page.keyboard.press("Escape")
    site.release()
    screen.wait_for("cancelled")
    assert prompt_of(site.jobs(1)[0]) == "one\ntwo"


def test_the_large_view_moves_and_closes(screen: Screen) -> None:
    screen.fill(prompt="discs", steps=1, batch_count=2, seed=1)
    screen.generate()
    screen.wait_for("finished")
    screen.picture.click()
    dialog = screen.page.locator("#lightboxModal")
    expect(dialog).to_be_visible()
    expect(dialog.locator(".count")).to_have_text("1 / 3")  # the overview, then the images
    screen.page.keyboard.press("ArrowLeft")
    expect(dialog.locator(".count")).to_have_text("3 / 3")
    screen.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert "Seed: 2," in screen.infotext
