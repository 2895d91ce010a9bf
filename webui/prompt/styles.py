"""Styles: named pieces of prompt, kept in A1111's `styles.csv`."""

from __future__ import annotations

import csv
import difflib
import io
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from webui.domain.frozen import Data
from webui.domain.request import MAX_PROMPT
from webui.errors import BadFile, BadRequest, EaselError, NotFound, StorageError
from webui.images.save import contained
from webui.storage import replace_file

FILE = "styles.csv"
MAX_FILE_BYTES = 16 * 1024 * 1024
PLACE = "{prompt}"

log = logging.getLogger(__name__)


class Style(Data):
    """One style. `{prompt}` in a text is where the user's prompt goes; without it the text follows the prompt."""

    name: str
    prompt: str = ""
    negative_prompt: str = ""


class Styles:
    """The styles of one folder: those of `styles.csv`, then those of any other `styles*.csv`.

    Of two styles with one name the first counts. Files are read when asked, so a change made outside is seen.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def all(self) -> Mapping[str, Style]:
        """Return all styles by name. A file that cannot be used is left out; `problems` tells."""
        found: dict[str, Style] = {}
        for name in self._files():
            try:
                for style in read(contained(self._folder, name)):
                    found.setdefault(style.name, style)
            except EaselError as error:
                log.warning("%s: %s", name, error)
        return found

    def problems(self) -> tuple[str, ...]:
        """Return what is wrong with the files, for the user."""
        problems = []
        for name in self._files():
            try:
                read(contained(self._folder, name))
            except EaselError as error:
                problems.append(f"{name}: {error}")
        return tuple(problems)

    def save(self, style: Style) -> None:
        """Add `style` to `styles.csv` or replace the one of its name there; the file before it stays as `.bak`.

        Raises `BadFile` when the present file cannot be read, because its content would be lost.
        """
        if not style.name.strip() or style.name.startswith("#"):
            raise BadRequest("A style needs a name, and it may not begin with '#'.", field="name")
        with self._lock:
            self._write([*(each for each in self._own() if each.name != style.name), style])

    def delete(self, name: str) -> None:
        """Remove the style of that name from `styles.csv`; `NotFound` when it is not there."""
        with self._lock:
            own = self._own()
            find(name, {style.name: style for style in own})
            self._write([style for style in own if style.name != name])

    def _own(self) -> tuple[Style, ...]:
        path = contained(self._folder, FILE)
        try:
            return read(path) if path.exists() else ()
        except BadFile as error:
            raise BadFile(f"The styles cannot be changed: {FILE}: {error.message}", hint=error.hint) from error

    def _write(self, styles: Iterable[Style]) -> None:
        path = contained(self._folder, FILE)
        if path.exists():
            try:
                replace_file(path.with_name(f"{FILE}.bak"), path.read_bytes())
            except OSError as error:
                raise StorageError(f"{path} cannot be copied: {error.strerror}.") from error
        replace_file(path, write(styles))

    def _files(self) -> Iterator[str]:
        others = sorted(path.name for path in self._folder.glob("styles*.csv") if path.name != FILE)
        return (name for name in (FILE, *others) if (self._folder / name).is_file())


def read(path: Path) -> tuple[Style, ...]:
    """Return the styles of one file. Rows without a name, and those that begin with `#`, are no styles.

    Raises `BadFile` when it is not a table with a `name` and a `prompt` (or, as long ago, a `text`).
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise BadFile(f"it is larger than {MAX_FILE_BYTES // 2**20} MiB.")
        text = content.decode("utf-8-sig")
        rows = csv.DictReader(io.StringIO(text, newline=""), restval="")
        columns = rows.fieldnames or ()
        prompt_column = "prompt" if "prompt" in columns else "text"
        if text.strip() and not {"name", prompt_column} <= set(columns):
            raise BadFile(
                "it has no columns 'name' and 'prompt'.",
                hint="Its first line should be: name,prompt,negative_prompt",
            )
        return tuple(
            Style(name=row["name"], prompt=row[prompt_column], negative_prompt=row.get("negative_prompt", ""))
            for row in rows
            if row["name"] and not row["name"].startswith("#")
        )
    except OSError as error:
        raise BadFile(f"it cannot be read: {error.strerror}.") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadFile(f"it is not a table in UTF-8: {error}.", hint="Save it as CSV in UTF-8.") from error


def write(styles: Iterable[Style]) -> bytes:
    """Return `styles` as A1111 writes them: CSV in UTF-8 with a byte order mark."""
    table = io.StringIO(newline="")
    rows = csv.DictWriter(table, ("name", "prompt", "negative_prompt"))
    rows.writeheader()
    rows.writerows(style.model_dump() for style in styles)
    return table.getvalue().encode("utf-8-sig")


def find(name: str, styles: Mapping[str, Style]) -> Style:
    """Return the style called `name`; raise `NotFound` with the nearest name."""
    if name not in styles:
        near = difflib.get_close_matches(name, styles, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "GET /sdapi/v1/prompt-styles lists them."
        raise NotFound(f"There is no style {name[:100]!r}.", hint=hint, field="styles")
    return styles[name]


def apply(prompt: str, texts: Sequence[str]) -> str:
    """Return `prompt` with each style's text put around or behind it, in order.

    Raises `BadRequest` when the result is longer than a prompt may be.
    """
    for text in texts:
        if PLACE in text:
            if len(text) + text.count(PLACE) * len(prompt) > 2 * MAX_PROMPT:
                raise _too_long()
            prompt = text.replace(PLACE, prompt)
        else:
            prompt = ", ".join(part for part in (prompt.strip(), text.strip()) if part)
    if len(prompt) > MAX_PROMPT:
        raise _too_long()
    return prompt


def _too_long() -> BadRequest:
    return BadRequest(
        f"With its styles the prompt is longer than {MAX_PROMPT} characters.", hint="Use fewer styles.", field="styles"
    )
