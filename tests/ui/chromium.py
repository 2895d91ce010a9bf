"""Chromium as the tests use it, and the page as a user sees it."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import ConsoleMessage, Locator, Page, Response, expect

EXECUTABLE = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOCAL = ("http://127.0.0.1:", "data:", "blob:")
PATIENCE = 120_000  # ms; only ever reached when something is broken

FIELDS = {
    "prompt": "#txt2img_prompt textarea",
    "negative_prompt": "#txt2img_neg_prompt textarea",
    "steps": "#txt2img_steps input[type=number]",
    "width": "#txt2img_width input[type=number]",
    "height": "#txt2img_height input[type=number]",
    "guidance": "#txt2img_cfg_scale input[type=number]",
    "seed": "#txt2img_seed input",
    "batch_count": "#txt2img_batch_count input[type=number]",
    "batch_size": "#txt2img_batch_size input[type=number]",
    "clip_skip": "#setting_CLIP_stop_at_last_layers input[type=number]",
    "sampler": "#txt2img_sampling input",
    "schedule": "#txt2img_scheduler input",
    "model": "#setting_sd_model_checkpoint input",
}
DROPDOWNS = ("sampler", "schedule", "model")


class Screen:
    """One browser page on a site; collects what must not happen."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.expected_errors: list[str] = []
        self._errors: list[str] = []
        self._external: list[str] = []
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self._errors.append(str(error)))
        page.on("response", self._note_response)
        page.on("request", lambda request: request.url.startswith(LOCAL) or self._external.append(request.url))

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._errors.append(f"{message.text} {message.location.get('url', '')}")

    def _note_response(self, response: Response) -> None:
        if response.status >= 400:
            self._errors.append(f"{response.status} {response.url}")

    def assert_clean(self) -> None:
        unforeseen = [error for error in self._errors if not any(part in error for part in self.expected_errors)]
        assert not unforeseen, unforeseen
        assert not self._external, self._external

    def open(self, page_hash: str = "") -> None:
        self.page.goto(f"{self.url}/{page_hash}")
        self.wait_until_ready()

    def reload(self) -> None:
        self.page.reload()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        self.page.wait_for_selector("html[data-easel=ready]", state="attached")

    def field(self, name: str) -> Locator:
        return self.page.locator(FIELDS[name])

    def fill(self, **values: object) -> None:
        for name, value in values.items():
            if name in DROPDOWNS:
                self.choose(name, str(value))
            else:
                self.field(name).fill(str(value))
                self.field(name).press("Tab")

    def choose(self, name: str, label: str) -> None:
        """Choose the first entry of a dropdown whose label starts with `label`."""
        self.field(name).click()
        self.page.locator("ul[role=listbox] li", has_text=label).first.click()

    def values(self, *names: str) -> dict[str, str]:
        return {name: self.field(name).input_value() for name in names or FIELDS}

    def generate(self) -> None:
        """Press Generate; a `wait_for` after this waits for the new job, not for one before."""
        self.page.evaluate("document.querySelector('.progress-box').dataset.state = ''")
        self.page.click("#txt2img_generate")

    def wait_for(self, state: str) -> None:
        """Wait until the followed job has ended as `finished`, `cancelled` or `failed`."""
        self.page.wait_for_selector(f".progress-box[data-state={state}]")

    @property
    def thumbnails(self) -> Locator:
        return self.page.locator("#txt2img_gallery .thumbnail-item.image")

    @property
    def picture(self) -> Locator:
        return self.page.locator("#txt2img_gallery img.picture")

    @property
    def progress(self) -> Locator:
        return self.page.locator("#html_log_txt2img")

    @property
    def infotext(self) -> str:
        return self.page.locator("#html_info_txt2img .infotext-raw").text_content() or ""

    def expect_picture(self) -> None:
        """Expect a picture that has really arrived and been decoded."""
        expect(self.picture).to_be_visible()
        self.page.wait_for_function("document.querySelector('#txt2img_gallery img.picture').naturalWidth > 0")

    def shoot(self, path: Path) -> None:
        self.page.screenshot(path=path)
