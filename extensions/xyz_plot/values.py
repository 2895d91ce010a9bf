"""The value lists of axes: `1-5`, `1-10 (+2)`, `1-10 [5]`, `"a, b", c`."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence

from webui.extending.api import MAX_IMAGES, BadRequest

NUMBER = r"[+-]?\s*\d+(?:\.\d*)?|[+-]?\s*\.\d+"
RANGE = re.compile(
    rf"\s*(?P<first>{NUMBER})\s*-\s*(?P<last>{NUMBER})"
    rf"(?:\s*\(\s*(?P<step>[+-]?\s*(?:\d+(?:\.\d*)?|\.\d+))\s*\)|\s*\[\s*(?P<count>\d+)\s*\])?\s*"
)
DIGITS = 8  # of fractions: 0.1 + 0.2 is 0.3


def split_list(text: str) -> list[str]:
    """Return the items of a comma-separated text without the blanks around them; quoted ones may hold commas."""
    try:
        rows = list(csv.reader(io.StringIO(text), skipinitialspace=True))
    except csv.Error as error:
        raise BadRequest(
            f"The list of values cannot be read: {error}.", hint="Use commas between short values."
        ) from error
    return [item.strip() for item in itertools.chain.from_iterable(rows)]


def join_list(items: Sequence[str]) -> str:
    """Return `items` as the text that `split_list` reads."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(items)
    return buffer.getvalue()


def whole_numbers(items: Sequence[str], axis: str) -> list[int]:
    """Return whole numbers and ranges of them as one list; counted ranges are cut off to whole numbers, as in A1111."""
    return [int(value) for value in _numbers(items, axis, "a whole number", _read_whole)]


def fractions(items: Sequence[str], axis: str) -> list[float]:
    """Return numbers and ranges of them as one list."""
    return list(_numbers(items, axis, "a number", _read_fraction))


def orders(items: Sequence[str], axis: str) -> list[tuple[str, ...]]:
    """Return all orders that `items` can have."""
    if math.factorial(min(len(items), 20)) > MAX_IMAGES:
        raise BadRequest(
            f"{axis}: {len(items)} words have more than {MAX_IMAGES} orders.",
            hint="Name fewer of them.",
            field="script",
        )
    return list(itertools.permutations(items))


def _read_whole(text: str) -> float:
    return int(text)


def _read_fraction(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _numbers(items: Sequence[str], axis: str, what: str, read: Callable[[str], float]) -> Iterator[float]:
    for item in items:
        try:
            yield from _range(item, axis, read) if RANGE.fullmatch(item) else [read(item)]
        except ValueError:
            raise BadRequest(
                f"{axis}: {item!r} is not {what}.",
                hint="Write 1, 2, 3 or 1-5 or 1-10 (+2) or 1-10 [5].",
                field="script",
            ) from None


def _range(item: str, axis: str, read: Callable[[str], float]) -> Iterator[float]:
    found = RANGE.fullmatch(item)
    assert found is not None
    first, last = (read("".join(found[name].split())) for name in ("first", "last"))
    if found["count"] is not None:
        count = int(found["count"])
        step = (last - first) / max(1, count - 1)
    else:
        step = read("".join((found["step"] or "1").split()))
        count = math.floor((last - first) / step + 1e-9) + 1 if step else 0
    if not 0 < count <= MAX_IMAGES:
        why = "has no values" if count <= 0 else f"has more than {MAX_IMAGES} values"
        raise BadRequest(f"{axis}: the range {item!r} {why}.", hint="Correct its ends or its step.", field="script")
    return (round(first + number * step, DIGITS) for number in range(count))
