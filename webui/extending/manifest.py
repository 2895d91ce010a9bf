"""What an extension says about itself: `easel.json`, or A1111's `metadata.ini`. Reading it runs nothing."""

from __future__ import annotations

import configparser
import json
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from webui.domain.frozen import Data
from webui.errors import BadFile

EASEL, A1111 = "easel.json", "metadata.ini"
MAX_BYTES = 256 * 1024

Text = Annotated[str, Field(max_length=500)]
Names = Annotated[tuple[Annotated[str, Field(max_length=100)], ...], Field(max_length=100)]


class Manifest(Data):
    """`requires` are extensions without which this one cannot work; `after` and `before` say only in which order they
    are loaded. `permissions` is what it says it does beyond pictures: told to the user, not enforced. `api`: the
    version of `ExtensionApi` it was written for."""

    title: Text = ""
    version: Text = ""
    description: Annotated[str, Field(max_length=5000)] = ""
    author: Text = ""
    homepage: Text = ""
    api: Annotated[int, Field(ge=1)] = 1
    permissions: Names = ()
    requires: Names = ()
    after: Names = ()
    before: Names = ()


def read_manifest(folder: Path) -> Manifest:
    """Return what the extension in `folder` says about itself; `BadFile` when that cannot be read."""
    if (folder / EASEL).is_file():
        return _read_easel(folder / EASEL)
    if (folder / A1111).is_file():
        return _read_a1111(folder / A1111)
    return Manifest()


def _read_easel(path: Path) -> Manifest:
    try:
        return Manifest.model_validate(json.loads(_read(path)))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise BadFile(f"{path.name}: {place}: {first['msg']}.", hint="Ask its author to correct it.") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path.name} is not JSON: {error}.", hint="Ask its author to correct it.") from error


def _read_a1111(path: Path) -> Manifest:
    """Read `[Extension] Name, Requires` and, of the sections for scripts, `Before`, `After` and `Requires`."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(_read(path))
    except configparser.Error as error:
        raise BadFile(f"{path.name} cannot be read: {error}.", hint="Ask its author to correct it.") from error
    own = parser["Extension"] if parser.has_section("Extension") else {}
    sections = [parser[name] for name in parser.sections() if name == "Extension" or name.startswith("scripts")]

    def names(key: str) -> tuple[str, ...]:
        found = [part.strip().partition("/")[0] for each in sections for part in each.get(key, "").split(",")]
        return tuple(dict.fromkeys(name for name in found if name))

    try:
        return Manifest(
            title=own.get("Name", "").strip(),
            version=own.get("Version", "").strip(),
            requires=names("Requires"),
            after=names("After"),
            before=names("Before"),
        )
    except ValidationError as error:
        raise BadFile(f"{path.name}: {error.errors()[0]['msg']}.", hint="Ask its author to correct it.") from error


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadFile(f"{path.name} cannot be read: {error.strerror}.") from error
    if len(content) > MAX_BYTES:
        raise BadFile(f"{path.name} is larger than {MAX_BYTES // 1024} KB.")
    return content.decode("utf-8-sig", "replace")
