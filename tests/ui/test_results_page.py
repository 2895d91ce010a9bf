"""What can be done with results in a real browser: overviews, failures, archives, a second pass, other pages."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.ui.chromium import Screen
from tests.ui.conftest import Site

pytestmark = pytest.mark.browser


@pytest.fixture
def broken_seed(site: Site) -> Iterator[int]:
    """A seed whose image cannot be made."""
    (site.data_dir / "fail").write_text("42")
    yield 42
    (site.data_dir / "fail").unlink()


def test_the_overview_comes_first_and_is_marked(screen: Screen, site: Site) -> None:
    screen.fill(prompt="discs", steps=1, batch_count=3, seed=1)
    screen.generate()
    screen.wait_for("finished")
    expect(screen.progress).to_contain_text("3 images in")
    first = screen.page.locator("#txt2img_gallery .thumbnail-item").first
    expect(first).to_have_class("thumbnail-item sheet selected")
    expect(first).to_have_text("Overview")
    screen.page.wait_for_function("document.querySelector('#txt2img_gallery img.picture').naturalWidth >= 256")
    for name in ("Reuse this seed", "Enlarge this one with the settings of Hires. fix"):
        expect(screen.page.get_by_role("button", name=name)).to_be_disabled()
    screen.thumbnails.nth(1).click()
    expect(screen.page.get_by_role("button", name="Reuse this seed")).to_be_enabled()
    path = next(image["path"] for image in site.jobs(1)[0]["images"] if image["seed"] == 2)
    expect(screen.page.locator(".facts").first).to_contain_text(f"outputs/{path}")
    screen.reload()
    expect(first).to_have_class("thumbnail-item sheet selected")
    expect(screen.thumbnails).to_have_count(3)


def test_an_image_that_failed_says_so_in_its_place(screen: Screen, site: Site, broken_seed: int) -> None:
    screen.fill(prompt="discs", steps=1, batch_count=3, seed=broken_seed - 1)
    screen.generate()
    screen.wait_for("finished")
    expect(screen.progress).to_contain_text("1 image failed")
    failed = screen.page.locator("#txt2img_gallery .thumbnail-item.failed")
    for _ in range(2):
        expect(screen.thumbnails).to_have_count(2)
        assert failed.get_attribute("data-index") == "1"
        failed.click()
        failure = screen.page.locator("#txt2img_gallery .failure")
        expect(failure).to_be_visible()
        expect(failure).to_contain_text("Image 2 could not be made")
        expect(failure).to_contain_text("no numbers")
        expect(screen.page.locator("#txt2img_gallery .stage-tools")).to_be_hidden()
        screen.thumbnails.last.click()
        screen.expect_picture()
        assert "Seed: 43," in screen.infotext
        screen.reload()  # what was said is read again from the job's log


def test_all_images_are_downloaded_as_one_archive(screen: Screen, site: Site) -> None:
    archive = screen.page.get_by_role("link", name="Download all as a zip file")
    screen.fill(prompt="discs", steps=1, seed=1)
    screen.generate()
    screen.wait_for("finished")
    expect(screen.page.get_by_role("link", name="Download", exact=True)).to_be_visible()
    expect(archive).to_be_hidden()
    screen.fill(batch_count=2)
    screen.generate()
    screen.wait_for("finished")
    with screen.page.expect_download() as download:
        archive.click()
    with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as opened:
        content = {name: opened.read(name) for name in opened.namelist()}
    paths = [site.data_dir / "outputs" / image["path"] for image in site.jobs(1)[0]["images"]]
    assert content == {path.name: path.read_bytes() for path in paths}
    assert download.value.suggested_filename.endswith(".zip")


def test_one_finished_picture_gets_a_second_pass(screen: Screen, site: Site) -> None:
    screen.page.locator("#txt2img_hr .group-title").click()
    screen.page.locator("#txt2img_hr_scale input[type=number]").fill("1.5")
    screen.page.locator("#txt2img_hr_upscaler select").select_option("Lanczos")
    screen.fill(prompt="a fox", steps=2, seed=8)
    screen.generate()
    screen.wait_for("finished")
    screen.fill(prompt="something else", seed=1)
    screen.page.evaluate("document.querySelector('.progress-box').dataset.state = ''")
    screen.page.get_by_role("button", name="Enlarge this one with the settings of Hires. fix").click()
    screen.wait_for("finished")
    job = site.jobs(1)[0]
    image = job["images"][0]
    assert (image["width"], image["height"], image["seed"]) == (192, 192, 8)
    assert job["plan"]["images"][0]["prompt"] == "a fox"
    screen.expect_picture()
    assert "Hires upscaler: Lanczos" in screen.infotext


def test_a_wrong_second_pass_is_said_at_its_field(screen: Screen) -> None:
    screen.page.locator("#txt2img_hr .group-title").click()
    screen.page.locator("#txt2img_hr_scale input[type=number]").fill("9")
    screen.fill(prompt="a fox", steps=1)
    screen.generate()
    screen.wait_for("finished")
    screen.page.get_by_role("button", name="Enlarge this one with the settings of Hires. fix").click()
    expect(screen.page.locator("#txt2img_hr_scale .field-problem")).to_have_text("must be at most 8")


@pytest.mark.parametrize(("target", "mode"), [("img2img", "img2img"), ("inpaint", "inpaint")])
def test_a_result_goes_on_to_another_page(screen: Screen, site: Site, target: str, mode: str) -> None:
    screen.fill(prompt="a fox", steps=2, width=192, height=128, seed=8)
    screen.generate()
    screen.wait_for("finished")
    screen.page.click(f"#txt2img_send_to_{target}")
    expect(screen.page.locator("#tab_img2img")).to_be_visible()
    expect(screen.page.locator("#img2img_prompt textarea")).to_have_value("a fox")
    expect(screen.page.locator("#img2img_width input[type=number]")).to_have_value("192")
    expect(screen.page.locator("#img2img_seed input")).to_have_value("-1")
    mode_field = screen.page.locator("#img2img_mode").locator("textarea, input").first
    expect(mode_field).to_have_value(mode)


def test_a_result_is_read_by_png_info(screen: Screen) -> None:
    screen.fill(prompt="a fox", steps=2, seed=8)
    screen.generate()
    screen.wait_for("finished")
    screen.page.click("#txt2img_send_to_pnginfo")
    expect(screen.page.locator("#tab_pnginfo")).to_be_visible()
    expect(screen.page.locator("#html_info_pnginfo")).to_contain_text("a fox")
