"""The cards beside models: ours, A1111's and those of programs that ask civitai.com; where ours are written.

A card never changes a model file. Models in another program's folders are used in place and nothing is written there:
their cards lie in our own state folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Collection, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from webui.domain.cards import CardChange, ModelCard
from webui.domain.models import ModelDefaults
from webui.storage import replace_file
from webui.weights.catalog.scan import FOLDER_CARD, FileFacts, OnDisk
from webui.weights.formats.metadata import printable

log = logging.getLogger(__name__)

_MAX_CARD = 2**20  # bytes
_MAX_LINE, _MAX_TEXT = 1000, 20_000  # characters
_NO_CARD, _NO_DEFAULTS = ModelCard(), ModelDefaults()
_FIELDS = tuple(ModelCard.model_fields)


class CardFiles:
    """Reads cards, and keeps ours. `adopted` are folders of other programs; `own_folder` takes the cards of models
    there."""

    def __init__(self, adopted: Collection[Path] = (), own_folder: Path | None = None) -> None:
        self._adopted = frozenset(adopted)
        self._own_folder = own_folder

    def locate(self, model: OnDisk) -> tuple[FileFacts, ...]:
        """Return all files that tell about `model`; they have changed when this has."""
        return (*model.cards, *self._kept_apart(model))

    def read(self, model: OnDisk) -> ModelCard:
        """Return what the files beside `model` say, ours before A1111's before others'.

        One that is damaged is logged and never hides the model.
        """
        own, told = ModelCard(), []
        for name, _, _ in sorted(self.locate(model), key=_importance):
            file = self._file(model, name)
            try:
                if _is_own(name):
                    own = _read_own(file)
                else:
                    told.append(_read_foreign(file))
            except FileNotFoundError:
                continue
            except (OSError, ValueError, ValidationError, RecursionError) as error:
                log.warning("The model card %s is not used: %s", file, error)
                if _is_own(name):
                    own = ModelCard(description=f"{file.name} is damaged and was not used.")
        return merge(own, *told)

    def write(self, model: OnDisk, change: CardChange) -> None:
        """Change our card of `model`; what it says that we do not know stays. Raises `StorageError`."""
        file = self.own_file(model)
        content = _known_content(file)
        for name in change.model_fields_set:
            value = change.model_dump(mode="json", exclude_none=True).get(name)
            if value in (None, "", {}, []):
                content.pop(name, None)
            else:
                content[name] = value
        text = printable(json.dumps(content, indent=2, ensure_ascii=False))
        replace_file(file, f"{text}\n".encode())

    def own_file(self, model: OnDisk) -> Path:
        """Return where our card of `model` lies or will lie."""
        if self._own_folder is not None and self._is_kept_apart(model):
            return self._own_folder / f"{_key(model)}.{FOLDER_CARD}"
        path = Path(model.path)
        return path / FOLDER_CARD if model.is_folder else path.with_suffix(f".{FOLDER_CARD}")

    def own_preview(self, model: OnDisk) -> Path:
        """Return where our picture of `model` lies or will lie (PNG)."""
        card = self.own_file(model)
        if card.parent == self._own_folder:
            return card.with_name(f"{_key(model)}.preview.png")
        path = Path(model.path)
        return path / "preview.png" if model.is_folder else path.with_suffix(".preview.png")

    def preview(self, model: OnDisk) -> Path | None:
        """Return the picture of `model`: ours, or one that lies beside it."""
        if self._is_kept_apart(model) and (own := self.own_preview(model)).is_file():
            return own
        if model.preview is None:
            return None
        return (Path(model.path) if model.is_folder else Path(model.path).parent) / model.preview

    def _is_kept_apart(self, model: OnDisk) -> bool:
        return self._own_folder is not None and model.root in self._adopted

    def _kept_apart(self, model: OnDisk) -> tuple[FileFacts, ...]:
        if not self._is_kept_apart(model):
            return ()
        file = self.own_file(model)
        try:
            facts = file.stat()
        except OSError:
            return ()
        return ((str(file), facts.st_size, facts.st_mtime_ns),)

    def _file(self, model: OnDisk, name: str) -> Path:
        return (Path(model.path) if model.is_folder else Path(model.path).parent) / name


def merge(*cards: ModelCard) -> ModelCard:
    """Return one card: of each text and number the first that says something."""
    told = [card for card in cards if card.model_fields_set]  # most models have no card: that must be quick
    if len(told) < 2:
        return told[0] if told else _NO_CARD
    empty = _NO_CARD
    changes: dict[str, Any] = {}
    for name in _FIELDS:
        if name != "defaults":
            values = (getattr(card, name) for card in told)
            changes[name] = next((value for value in values if value != getattr(empty, name)), getattr(empty, name))
    return ModelCard(**changes, defaults=merge_defaults(*(card.defaults for card in told)))


def merge_defaults(*proposals: ModelDefaults) -> ModelDefaults:
    """Return of each number and name the first that is proposed."""
    told = [proposal for proposal in proposals if proposal.model_fields_set]
    if len(told) < 2:
        return told[0] if told else _NO_DEFAULTS
    values: dict[str, Any] = {}
    for proposal in told:
        values = {name: value for name, value in proposal if value is not None} | values
    return ModelDefaults(**values)


def _importance(file: FileFacts) -> tuple[bool, bool, str]:
    name = file[0]
    return not _is_own(name), ".civitai." in name, name


def _is_own(name: str) -> bool:
    return name == FOLDER_CARD or name.endswith(f".{FOLDER_CARD}")


def _key(model: OnDisk) -> str:
    return hashlib.sha256(os.fsencode(model.path)).hexdigest()[:32]


def _load(file: Path) -> Mapping[str, Any]:
    if file.stat().st_size > _MAX_CARD:
        raise ValueError(f"larger than {_MAX_CARD} bytes")
    content = json.loads(file.read_bytes())
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    whole: dict[str, Any] = json.loads(printable(json.dumps(content, ensure_ascii=False)))
    return whole


def _known_content(file: Path) -> dict[str, Any]:
    try:
        return dict(_load(file))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.warning("The damaged model card %s is replaced: %s", file, error)
        return {}


def _read_own(file: Path) -> ModelCard:
    content = _load(file)
    return ModelCard.model_validate({name: content[name] for name in _FIELDS if name in content})


def _read_foreign(file: Path) -> ModelCard:
    content = _load(file)
    return _read_civitai(content) if "trainedWords" in content or "modelVersions" in content else _read_a1111(content)


def _read_a1111(content: Mapping[str, Any]) -> ModelCard:
    """Names: A1111's `ui_extra_networks_user_metadata.py` and its editor for LoRAs."""
    weight = content.get("preferred weight")
    usable = isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < abs(weight) <= 10
    return ModelCard(
        description=_text(content.get("description")),
        notes=_text(content.get("notes")),
        trigger_words=_text(content.get("activation text")),
        negative_words=_text(content.get("negative text")),
        weight=weight if usable else None,
        base_model=_line(content.get("sd version")).replace("Unknown", ""),
    )


def _read_civitai(content: Mapping[str, Any]) -> ModelCard:
    """Names: civitai.com's API, a model's version (`.civitai.info`) or a model with its versions."""
    versions = content.get("modelVersions")
    version = versions[0] if isinstance(versions, list) and versions and isinstance(versions[0], dict) else content
    model = content if version is not content else content.get("model")
    about: Mapping[str, Any] = model if isinstance(model, dict) else {}
    words = version.get("trainedWords")
    return ModelCard(
        title=_line(about.get("name")) or _line(version.get("name")),
        description=_plain(_text(version.get("description")) or _text(about.get("description"))),
        trigger_words=", ".join(_line(word).strip(" ,") for word in words[:100]) if isinstance(words, list) else "",
        base_model=_line(version.get("baseModel")),
    )


def _text(value: object) -> str:
    return value[:_MAX_TEXT].strip() if isinstance(value, str) else ""


def _line(value: object) -> str:
    return " ".join(value[:_MAX_LINE].split()) if isinstance(value, str) else ""


class _Reader(HTMLParser):
    """Keeps the words of a page, with a line for each paragraph."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._is_code = False

    def handle_data(self, data: str) -> None:
        if not self._is_code:
            self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_code = tag in ("script", "style")
        if tag in ("p", "br", "li", "h1", "h2", "h3", "ul"):
            self.words.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._is_code = False


def _plain(page: str) -> str:
    reader = _Reader()
    reader.feed(page)
    lines = (" ".join(line.split()) for line in "".join(reader.words).splitlines())
    return "\n".join(line for line in lines if line)
