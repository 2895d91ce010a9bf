"""Which files of extensions browsers may have, and which they may not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from webui.extending.api import ExtensionApi, Tab
from webui.extending.assets import Assets, page_address
from webui.extending.loader import Extension

OFFERED = (
    "javascript/run.js",
    "javascript/deep/part.mjs",
    "style.css",
    "html/page.html",
    "pages/tab.html",
    "pages/x.png",
)
KEPT = (
    "extension.py",
    "secret.json",
    "notes.txt",
    "javascript/.hidden.js",
    "javascript/run.py",
    "scripts/run.js",
)


@pytest.fixture
def extension(tmp_path: Path) -> Extension:
    folder = tmp_path / "one"
    for name in (*OFFERED, *KEPT):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (folder / "localizations").mkdir()
    (folder / "localizations" / "de.json").write_text('{"House": "Haus"}')
    (tmp_path / "outside.js").write_text("not ours")
    (folder / "javascript" / "link.js").symlink_to(tmp_path / "outside.js")
    api = ExtensionApi("one", folder)
    api.add_tab(Tab("tab", "Tab", folder / "pages" / "tab.html"))
    script, words = folder / "javascript" / "run.js", folder / "localizations" / "de.json"
    return Extension("one", folder, "One", api=api, javascript=(script,), localizations=(words,))


@pytest.fixture
def assets(extension: Extension) -> Assets:
    return Assets((extension,))


@pytest.mark.parametrize("name", OFFERED)
def test_what_pages_are_made_of_is_given(assets: Assets, name: str) -> None:
    asset = assets.read("one", name)
    assert asset is not None and asset.content == name.encode()


@pytest.mark.parametrize(
    "name",
    [
        *KEPT,
        "javascript/link.js",
        "javascript/../extension.py",
        "javascript/../../outside.js",
        "../outside.js",
        "/etc/hosts.txt",
        "javascript\\run.js",
        "javascript/run.js\0.js",
        "javascript",
        "",
    ],
)
def test_everything_else_is_not(assets: Assets, name: str) -> None:
    assert assets.read("one", name) is None


def test_only_extensions_that_are_active_have_files(assets: Assets) -> None:
    assert assets.read("two", "style.css") is None
    assert assets.read("..", "outside.js") is None


def test_addresses_lead_to_the_files(assets: Assets, extension: Extension) -> None:
    (script,) = assets.scripts()
    address, _, version = script.partition("?")
    assert address == "extensions/one/javascript/run.js" and version
    assert extension.api is not None
    assert page_address(extension.api, extension.api.tabs[0]) == "extensions/one/pages/tab.html"
    os.utime(extension.folder / "javascript" / "run.js", ns=(1, 1))
    assert assets.scripts() != (script,)


def test_types_are_said(assets: Assets) -> None:
    kinds = {name: asset.media_type for name in OFFERED if (asset := assets.read("one", name)) is not None}
    assert kinds["javascript/run.js"] == "text/javascript" and kinds["style.css"] == "text/css"


def test_translations_are_read_and_what_is_none_is_passed_over(assets: Assets, extension: Extension) -> None:
    assert assets.translations() == {"de": {"House": "Haus"}}
    folder = extension.folder / "localizations"
    (folder / "fr_FR.json").write_text('{"House": "Maison", "Number": 3}')
    (folder / "notes about it.json").write_text("{}")
    (folder / "es.json").write_text("[")
    files = tuple(sorted(folder.iterdir()))
    more = Assets((Extension("one", extension.folder, "One", localizations=files),))
    french = {"House": "Maison"}
    assert more.translations() == {"de": {"House": "Haus"}, "fr-FR": french, "fr": french, "es": {}}
