"""The text's outer form: prompt, negative prompt, and a last line of `Key: value` pairs."""

from __future__ import annotations

import json
import re

from webui.images.infotext.names import POSTPROCESS

NEGATIVE = "Negative prompt:"
FEWEST_PARAMETERS = 3  # a last line with fewer belongs to the prompt (A1111's rule)
LONGEST_JSON = 16_384  # characters of an unquoted JSON value; the limit keeps hostile text from costing quadratic time


def quoted(text: str) -> str:
    """Return `text` as a JSON string if it would not be read back as it stands."""
    is_plain = text == text.strip() and not text.startswith('"') and not re.search(r"[,:\n\r]", text)
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def with_plain_lines(text: str) -> str:
    """Return `text` with line feeds alone."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def split(text: str) -> tuple[str, str, dict[str, str]]:
    """Return prompt, negative prompt and parameters of any text, in time linear in its length.

    The prompt keeps its inner and leading spaces. The first line that starts with `Negative prompt:` ends it.
    """
    clean = with_plain_lines(text.encode("utf-8", "replace").decode("utf-8")).rstrip()
    *lines, last = clean.split("\n")
    fields = read_parameters(last)
    if len(fields) < FEWEST_PARAMETERS and not _is_postprocessing(fields):
        lines, fields = [*lines, last], {}
    return *_split_prompts(lines), fields


def _is_postprocessing(fields: dict[str, str]) -> bool:
    """Tell whether the parameters are those of the Extras page alone, which are few."""
    return bool(fields) and all(key.startswith(POSTPROCESS) for key in fields)


def _split_prompts(lines: list[str]) -> tuple[str, str]:
    for number, line in enumerate(lines):
        if line.lstrip().startswith(NEGATIVE):
            first = line.lstrip().removeprefix(NEGATIVE).removeprefix(" ")
            return "\n".join(lines[:number]), "\n".join([first, *lines[number + 1 :]])
    return "\n".join(lines), ""


_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_DECODER = json.JSONDecoder()


def read_parameters(line: str) -> dict[str, str]:
    """Return the `Key: value` pairs of a parameter line. A value may be a JSON string, object or list."""
    parameters: dict[str, str] = {}
    start = 0
    while (colon := line.find(":", start)) >= 0:
        key = _key_before(line, start, colon)
        start = colon + 1
        if len(key) > 1:
            value, start = _value_at(line, start)
            parameters[key] = value
    return parameters


def _key_before(line: str, start: int, colon: int) -> str:
    """Return the words that stand before the colon: letters, digits, spaces, dashes and slashes."""
    begin = colon
    while begin > start and (line[begin - 1].isalnum() or line[begin - 1] in "_ -/"):
        begin -= 1
    return line[begin:colon].lstrip(" -/")


def _value_at(line: str, start: int) -> tuple[str, int]:
    """Return the value that begins at `start` and the position behind its comma."""
    while start < len(line) and line[start].isspace():
        start += 1
    end = _end_of_json(line, start)
    if end is None:
        comma = line.find(",", start)
        end = comma if comma >= 0 else len(line)
    return _unquoted(line[start:end].rstrip()), end + 1


def _end_of_json(line: str, start: int) -> int | None:
    """Return where the JSON value at `start` ends, if there is one and it fills the place up to the next comma."""
    end: int | None = None
    if line.startswith('"', start) and (match := _STRING.match(line, start)):
        end = match.end()
    elif line.startswith(("{", "["), start):
        try:
            length = _DECODER.raw_decode(line[start : start + LONGEST_JSON])[1]
        except (ValueError, RecursionError):
            return None
        end = start + length
    return end if end is not None and line[end : end + 1] in ("", ",") else None


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        try:
            return str(json.loads(value)).encode("utf-8", "replace").decode("utf-8")
        except ValueError:
            return value
    return value
