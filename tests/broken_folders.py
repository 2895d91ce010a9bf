"""What tests of models' folders share: ways to break one, and what is said of it then."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_models import write_json
from webui.errors import BadFile
from webui.weights.recognition.identify import identify

Break = Callable[[Path], object]


def change_json(file: Path, **changes: object) -> None:
    """Change fields of a JSON object in a file."""
    write_json(file, json.loads(file.read_text("utf-8")) | changes)


def change_config(part: str, **changes: Any) -> Break:
    """Return what changes the configuration of a part."""
    return lambda folder: change_json(folder / part / "config.json", **changes)


def change_scheduler(**changes: Any) -> Break:
    """Return what changes the configuration of the scheduler."""
    return lambda folder: change_json(folder / "scheduler" / "scheduler_config.json", **changes)


def check_refusal(folder: Path, break_it: Break, words: str) -> None:
    """Break `folder`: it is refused, and `words` are said."""
    identify(folder)
    break_it(folder)
    with pytest.raises(BadFile) as caught:
        identify(folder)
    assert words in str(caught.value)
