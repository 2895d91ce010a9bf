"""Images put together into one: the grid of a batch, the sheets of a script with titles over rows and columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from PIL import Image, ImageDraw

from webui.domain.plan import SheetPlan
from webui.images.open import MAX_PIXELS
from webui.images.titles import SMALLEST, Block, draw_block, find_face, fit

MAX_SIDE = 16_383  # pixels: WebP's limit, and the size up to which browsers show a picture
BACKGROUND = "white"
INK = "#1a1a1a"
LARGEST_TITLE = 56  # pixels

Size = tuple[int, int]


class Sheets:
    """Takes the images of a run as they come and composes the sheets they belong to.

    Images are kept no larger than the sheet that shows them largest needs, and so that all together have no more pixels
    than two sheets of `max_pixels`, however many there are.
    """

    def __init__(self, plans: Sequence[SheetPlan], max_pixels: int = MAX_PIXELS) -> None:
        self._plans = plans
        self._max_pixels = max_pixels
        self._largest_share: dict[int, float] = {}  # pixels that an image may have in the sheet with the fewest cells
        most = 2 * max_pixels / max(1, len({cell for plan in plans for cell in plan.cells if cell is not None}))
        for plan in plans:
            for cell in plan.cells:
                if cell is not None:
                    share = min(most, max_pixels / len(plan.cells))
                    self._largest_share[cell] = max(share, self._largest_share.get(cell, 0))
        self._pictures: dict[int, Image.Image] = {}
        self._sizes: dict[int, Size] = {}
        self._cell = (1, 1)  # the largest width and height so far

    def take(self, index: int, picture: Image.Image) -> None:
        """Remember image `index` if a sheet shows it."""
        if index not in self._largest_share:
            return
        self._sizes[index] = picture.size
        self._cell = max(self._cell[0], picture.width), max(self._cell[1], picture.height)
        scale = min(1.0, math.sqrt(self._largest_share[index] / (self._cell[0] * self._cell[1])))
        self._pictures[index] = _resized(picture, _scaled(picture.size, scale))

    def compose(self) -> Iterator[tuple[SheetPlan, int, Image.Image]]:
        """Yield each sheet with its plan and the index of the first image on it.

        Left out is one without any image, and one without titles of which a single image is left, after an interruption
        say: it would be that image beside nothing.
        """
        for plan in self._plans:
            shown = [cell for cell in plan.cells if cell is not None and cell in self._pictures]
            if len(shown) > 1 or (shown and (_has_titles(plan) or len(plan.cells) == 1)):
                yield plan, shown[0], _compose(plan, self._pictures, self._sizes, self._max_pixels)


def _has_titles(plan: SheetPlan) -> bool:
    return bool(plan.title or plan.row_titles or plan.column_titles or plan.group_titles)


def compose(plan: SheetPlan, pictures: Mapping[int, Image.Image], max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the sheet of `pictures` (by index, mode RGB); cells whose image is missing stay empty.

    All cells have the size of the largest picture. A sheet of more than `max_pixels`, or with a side longer than
    `MAX_SIDE`, is made of smaller pictures, and says so if it has titles.
    """
    return _compose(plan, pictures, {index: picture.size for index, picture in pictures.items()}, max_pixels)


def _scaled(size: Size, scale: float) -> Size:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _resized(picture: Image.Image, size: Size) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)


def _compose(
    plan: SheetPlan, pictures: Mapping[int, Image.Image], sizes: Mapping[int, Size], max_pixels: int
) -> Image.Image:
    shown = [cell for cell in plan.cells if cell is not None and cell in pictures]
    cell = max(sizes[index][0] for index in shown), max(sizes[index][1] for index in shown)
    scale = min(pictures[index].width / sizes[index][0] for index in shown)
    layout = _lay_out(plan, cell, scale)
    while layout.width * layout.height > max_pixels or max(layout.width, layout.height) > MAX_SIDE:
        scale *= 0.99 * min(
            math.sqrt(max_pixels / (layout.width * layout.height)), MAX_SIDE / max(layout.width, layout.height), 1
        )
        layout = _lay_out(plan, cell, scale)
    sheet = Image.new("RGB", (layout.width, layout.height), BACKGROUND)
    for number, index in enumerate(plan.cells):
        if index is not None and index in pictures:
            picture = _resized(pictures[index], _scaled(sizes[index], scale))
            x, y = layout.lefts[number % plan.columns], layout.tops[number // plan.columns]
            sheet.paste(
                picture, (x + (layout.cell[0] - picture.width) // 2, y + (layout.cell[1] - picture.height) // 2)
            )
    _draw_titles(ImageDraw.Draw(sheet), layout)
    return sheet


@dataclass(frozen=True)
class _Layout:
    """Where everything is, pixels. `lefts` and `tops` are the edges of columns and rows of cells."""

    width: int
    height: int
    cell: Size
    lefts: tuple[int, ...]
    tops: tuple[int, ...]
    title: list[Block]
    groups: list[Block]
    columns: list[Block]
    rows: list[Block]
    footnote: list[Block]
    padding: int


def _lay_out(plan: SheetPlan, full_cell: Size, scale: float) -> _Layout:
    """Return the places of everything when the pictures are drawn `scale` times their size."""
    cell = _scaled(full_cell, scale)
    columns, rows = plan.columns, math.ceil(len(plan.cells) / plan.columns)
    text = [plan.title, *plan.group_titles, *plan.column_titles, *plan.row_titles]
    face = find_face(text)
    has_titles = any(text)
    size = min(LARGEST_TITLE, max(SMALLEST + 2, min(cell) // 16))
    padding = size // 2 if has_titles else 0

    across, groups = columns // max(1, len(plan.column_titles)), max(1, len(plan.group_titles))
    group_gap = 2 * padding if groups > 1 else 0
    steps = [cell[0] + plan.margin + (group_gap if (i + 1) % (columns // groups) == 0 else 0) for i in range(columns)]
    inner = sum(steps) - plan.margin - group_gap
    down = rows // max(1, len(plan.row_titles))
    row_blocks = fit(plan.row_titles, face, size, max(cell[0] * 3 // 4, 6 * size), cell[1] * down)
    left = max((block.width for block in row_blocks), default=0) + (2 * padding if any(plan.row_titles) else 0)

    column_blocks = fit(plan.column_titles, face, size, across * (cell[0] + plan.margin) - plan.margin - padding)
    group_blocks = fit(plan.group_titles, face, round(size * 1.2), inner // groups - padding)
    title_blocks = fit([plan.title] if plan.title else [], face, round(size * 1.4), left + inner - 2 * padding)
    note = [f"Pictures at {scale:.0%} of their size"] if has_titles and scale < 1 else []
    note_blocks = fit(note, face, SMALLEST + 2, left + inner)
    top = sum(_height(blocks, padding) for blocks in (title_blocks, group_blocks, column_blocks))
    lefts = tuple(left + start for start in accumulate(steps[:-1], initial=0))
    tops = tuple(top + row * (cell[1] + plan.margin) for row in range(rows))
    return _Layout(
        width=left + inner, height=tops[-1] + cell[1] + _height(note_blocks, padding), cell=cell, lefts=lefts,
        tops=tops, title=title_blocks, groups=group_blocks, columns=column_blocks, rows=row_blocks,
        footnote=note_blocks, padding=padding,
    )  # fmt: skip


def _height(blocks: Sequence[Block], padding: int) -> int:
    return max((block.height for block in blocks), default=0) + (padding if any(block.lines for block in blocks) else 0)


def _draw_titles(canvas: ImageDraw.ImageDraw, layout: _Layout) -> None:
    y = 0
    for block in layout.title:
        draw_block(canvas, block, layout.width // 2, y + layout.padding // 2, INK, centred=True)
    y += _height(layout.title, layout.padding)
    for blocks in (layout.groups, layout.columns):
        bottom = y + _height(blocks, layout.padding) - layout.padding // 2
        for block, (start, end) in zip(blocks, _spans(layout.lefts, layout.cell[0], len(blocks)), strict=True):
            draw_block(canvas, block, (start + end) // 2, bottom - block.height, INK, centred=True)
        y += _height(blocks, layout.padding)
    for block, (start, end) in zip(layout.rows, _spans(layout.tops, layout.cell[1], len(layout.rows)), strict=True):
        draw_block(canvas, block, layout.padding, (start + end - block.height) // 2, INK, centred=False)
    for block in layout.footnote:
        draw_block(canvas, block, layout.width // 2, layout.height - block.height, INK, centred=True)


def _spans(starts: Sequence[int], length: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield first and last pixel of `count` equal shares of the columns or rows."""
    share = len(starts) // max(1, count)
    for number in range(count):
        yield starts[number * share], starts[(number + 1) * share - 1] + length
