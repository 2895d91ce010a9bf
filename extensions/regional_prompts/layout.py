"""Which part of a picture each region is: ratios and keywords → boxes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Literal

from webui.extending.api import BadRequest, Data

Splitting = Literal["Columns", "Rows"]
Groups = tuple[tuple[float, tuple[float, ...]], ...]
"""The outer parts of a picture, each with its ratio and the ratios of the parts it is split into."""

USUAL = "1,1"
MOST_REGIONS = 20


class Box(Data):
    """A part of a picture, as shares of its width and height from 0 to 1."""

    left: float
    top: float
    right: float
    bottom: float


def read_ratios(ratios: str, splitting: Splitting) -> tuple[Box, ...]:
    """Return the regions that `ratios` divide a picture into, in reading order of the text.

    "1,1,2" are three columns (or rows). With ";" each group is a row (or column) across the whole picture: its first
    number is its own ratio, those behind it split it; "1,2,3;1" is an upper half of two columns and a lower half.
    Raises `BadRequest` for what is no such text.
    """
    groups = parse(ratios)
    if len(groups) == 1 and ";" not in ratios:
        (_, parts), outer = groups[0], splitting
        return boxes_of(((1.0, parts),), outer)
    return boxes_of(tuple((first, rest or (1.0,)) for first, rest in groups), splitting)


def parse(ratios: str) -> Groups:
    """Return the groups of a text of ratios; the only one of a text without ";" has the ratio 1."""
    texts = [text for text in ratios.split(";") if text.strip()]
    try:
        numbers = [tuple(float(number) for number in text.split(",") if number.strip()) for text in texts]
    except ValueError:
        numbers = []
    if not numbers or not all(numbers) or any(not 0 < number < 1000 for each in numbers for number in each):
        raise BadRequest(
            f"{ratios!r} are no ratios.",
            hint="Write numbers above 0 such as 1,1,2, or 1,2,3;1 for rows of columns.",
            field="extensions.regional_prompts.ratios",
        )
    if len(numbers) == 1 and ";" not in ratios:
        return ((1.0, numbers[0]),)
    return tuple((each[0], each[1:]) for each in numbers)


def boxes_of(groups: Groups, splitting: Splitting) -> tuple[Box, ...]:
    """Return the boxes of `groups`: rows of columns where columns are split, columns of rows otherwise."""
    boxes = []
    for (start, end), (_, parts) in zip(_edges([ratio for ratio, _ in groups]), groups, strict=True):
        for low, high in _edges(parts):
            if splitting == "Columns":
                boxes.append(Box(left=low, top=start, right=high, bottom=end))
            else:
                boxes.append(Box(left=start, top=low, right=end, bottom=high))
    if len(boxes) > MOST_REGIONS:
        raise BadRequest(
            f"{len(boxes)} regions are too many: at most {MOST_REGIONS}.",
            hint="Each region is one more row of the network's batch.",
            field="extensions.regional_prompts.ratios",
        )
    return tuple(boxes)


def write_ratios(counts: Sequence[int]) -> str:
    """Return the ratios of equal groups, each of so many equal parts."""
    if len(counts) == 1:
        return ",".join("1" for _ in range(counts[0]))
    return ";".join(",".join("1" for _ in range(count + 1)) for count in counts)


def counts_of(ratios: str) -> tuple[int, ...]:
    """Return how many parts each group of a text of ratios has."""
    return tuple(max(len(parts), 1) for _, parts in parse(ratios))


def _edges(ratios: Sequence[float]) -> list[tuple[float, float]]:
    total = sum(ratios)
    return list(pairwise([0.0, *(done / total for done in accumulate(ratios))]))
