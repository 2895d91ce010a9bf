"""Texts on pictures: a font that has their letters, lines that fit into a width, a size that fits them all."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

MAX_LENGTH = 400  # characters of one text; the rest is left out
SMALLEST = 12  # pixels, where letters are still read without effort
LEADING = 1.25  # line height in font sizes
USUAL_LINES = 3  # of a title that may be as high as it likes
DOTS = "…"
MISSING = "\uffff"  # a code point that no font has a letter for
FONTS = (
    *("DejaVuSans.ttf", "segoeui.ttf", "Arial.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf"),
    *("NotoSansCJK-Regular.ttc", "msyh.ttc", "PingFang.ttc", "Hiragino Sans GB.ttc", "malgun.ttf", "wqy-microhei.ttc"),
)
"""Fonts that systems bring along, the smaller alphabets first."""

Face = Callable[[int], FreeTypeFont]
"""A font by its size in pixels."""


@dataclass(frozen=True)
class Block:
    """Some lines in one font. Width and height in pixels."""

    lines: tuple[str, ...]
    font: FreeTypeFont

    @property
    def line_height(self) -> int:
        return round(self.font.size * LEADING)

    @property
    def width(self) -> int:
        return max((round(self.font.getlength(line)) for line in self.lines), default=0)

    @property
    def height(self) -> int:
        return len(self.lines) * self.line_height


def find_face(texts: Sequence[str]) -> Face:
    """Return Pillow's own font if it has all letters of `texts`, else the font of the system that has most of them."""
    letters = "".join(sorted(set("".join(texts)) - {" ", "\n", "\t"}))
    faces: list[Face] = [_built_in]
    if _count_missing(_built_in, letters):
        faces += [_named(name) for name in FONTS if _exists(name)]
    return min(faces, key=lambda face: _count_missing(face, letters))


def _built_in(size: int) -> FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, FreeTypeFont)
    return font


def _named(name: str) -> Face:
    return lambda size: ImageFont.truetype(name, size)


def _exists(name: str) -> bool:
    try:
        ImageFont.truetype(name, SMALLEST)
    except OSError:
        return False
    return True


def _count_missing(face: Face, letters: str) -> int:
    font = face(SMALLEST)
    missing = _drawn(font, MISSING)
    return sum(_drawn(font, letter) == missing for letter in letters)


def _drawn(font: FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


def fit(texts: Sequence[str], face: Face, size: int, width: int, height: int = 0) -> list[Block]:
    """Return the texts as blocks of one size: the largest up to `size` at which each fits into `width` × `height`
    pixels (0: `USUAL_LINES` lines) without breaking a word. If none does, the smallest, with broken words and ends
    cut off."""
    shown = [_shorten(text) for text in texts]
    words = [piece for text in shown for word in text.split() for piece in _pieces(word)]
    for candidate in (size, round(size * 0.85), round(size * 0.7), round(size * 0.55)):
        font = face(max(SMALLEST, candidate))
        blocks = [Block(tuple(_wrap(text, font, width)), font) for text in shown]
        most = height or USUAL_LINES * round(font.size * LEADING)
        if all(block.height <= most for block in blocks) and all(font.getlength(word) <= width for word in words):
            return blocks
    font = face(SMALLEST)
    most_lines = max(1, height // round(SMALLEST * LEADING)) if height else 2 * USUAL_LINES
    return [Block(_cut(_wrap(text, font, width), most_lines, font, width), font) for text in shown]


def _shorten(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= MAX_LENGTH else words[: MAX_LENGTH - 1] + DOTS


def _wrap(text: str, font: FreeTypeFont, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        for number, piece in enumerate(_pieces(word)):
            joint = "" if number else " "
            if lines and font.getlength(f"{lines[-1]}{joint}{piece}") <= width:
                lines[-1] = f"{lines[-1]}{joint}{piece}"
            else:
                lines += _break(piece, font, width)
    return lines


def _pieces(word: str) -> list[str]:
    """Return where a word may be broken: names of models are long, and have hyphens and dots."""
    return re.findall(r"[^-_./\\]*[-_./\\]+|[^-_./\\]+$", word)


def _break(word: str, font: FreeTypeFont, width: int) -> list[str]:
    """Return the word in parts that fit; a part has at least one letter."""
    parts = [""]
    for letter in word:
        if parts[-1] and font.getlength(parts[-1] + letter) > width:
            parts.append("")
        parts[-1] += letter
    return parts


def _cut(lines: list[str], most: int, font: FreeTypeFont, width: int) -> tuple[str, ...]:
    if len(lines) <= most:
        return tuple(lines)
    last = lines[most - 1]
    while last and font.getlength(last + DOTS) > width:
        last = last[:-1]
    return (*lines[: most - 1], last + DOTS)


def draw_block(canvas: ImageDraw.ImageDraw, block: Block, x: int, y: int, colour: str, *, centred: bool) -> None:
    """Draw `block` with its top at `y`; `x` is its left edge, or its middle."""
    for number, line in enumerate(block.lines):
        middle = y + number * block.line_height + block.line_height // 2
        canvas.text((x, middle), line, fill=colour, font=block.font, anchor="mm" if centred else "lm")
