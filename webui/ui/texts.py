"""The words on the page. Keys are the English texts themselves, so a missing translation shows English."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "locales"


@dataclass(frozen=True)
class Texts:
    """All translations: locale → English text → translated text."""

    translations: dict[str, dict[str, str]]

    @classmethod
    def load(cls) -> Texts:
        return cls({path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))})

    def extended(self, more: Mapping[str, Mapping[str, str]]) -> Texts:
        """Return them with those of extensions, which say nothing of what is translated already."""
        ours = self.translations
        return Texts(
            {
                locale: {**more.get(locale, {}), **ours.get(locale.partition("-")[0], {}), **ours.get(locale, {})}
                for locale in sorted(ours.keys() | more.keys())
            }
        )

    def gradio(self) -> Any:
        """Return them in Gradio's form; calling the result with an English text gives a translatable label."""
        import gradio

        return gradio.I18n(**self.translations)
