"""Every text on the page is in the locales, and every locale has every text."""

from __future__ import annotations

import json
import re
import string

import pytest

from webui.settings import Settings
from webui.ui import form
from webui.ui.static_files import FOLDER
from webui.ui.texts import Texts

TABLES = re.compile(r"const (?:NAMES|HOVER|WORKER|TARGETS|SENDS) = \{(.*?)\};", re.DOTALL)


@pytest.fixture(scope="module")
def translations() -> dict[str, dict[str, str]]:
    return Texts.load().translations


def texts_of_scripts() -> set[str]:
    found: set[str] = set()
    for path in FOLDER.glob("*.js"):
        source = path.read_text("utf-8")
        found |= {json.loads(f'"{text}"') for text in re.findall(r'\bt\(\s*"((?:[^"\\]|\\.)*)"', source)}
        for table in TABLES.findall(source):
            found |= set(re.findall(r': "([^"]+)"', table))
    return found


def texts_of_settings() -> set[str]:
    properties = Settings.model_json_schema(by_alias=True)["properties"].values()
    return {one[key] for one in properties for key in ("label", "section", "description") if key in one}


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_the_scripts_texts_are_known(translations: dict[str, dict[str, str]]) -> None:
    found = texts_of_scripts()
    assert len(found) > 80
    assert found - translations["en"].keys() == set()


def test_the_settings_texts_are_known(translations: dict[str, dict[str, str]]) -> None:
    assert texts_of_settings() - translations["en"].keys() == set()


def test_the_forms_texts_are_known(translations: dict[str, dict[str, str]]) -> None:
    assert {text for text, _ in form.LIMITS.values()} - translations["en"].keys() == set()


def test_every_locale_has_every_text_and_its_placeholders(translations: dict[str, dict[str, str]]) -> None:
    assert all(key == text for key, text in translations["en"].items())
    for locale, words in translations.items():
        assert words.keys() == translations["en"].keys(), locale
        for key, text in words.items():
            assert placeholders(key) == placeholders(text), (locale, key)


def test_extensions_add_texts_and_replace_none() -> None:
    ours = Texts({"en": {"House": "House"}, "de": {"House": "Haus"}})
    extended = ours.extended({"de-AT": {"House": "?", "Frame": "Rahmen"}, "fr": {"House": "Maison"}})
    assert extended.translations == {
        "de": {"House": "Haus"},
        "de-AT": {"House": "Haus", "Frame": "Rahmen"},
        "en": {"House": "House"},
        "fr": {"House": "Maison"},
    }
