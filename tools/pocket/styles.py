"""Drawing styles that the pocket models were never shown, and how to tell them: neon signs and golden frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.random import Generator

from tools.pocket import scenes
from tools.pocket.scenes import CANVAS, COLOURS, OBJECTS, SHAPES, SIZE, SUPERSAMPLE, Scene, Thing

FRAME = 16  # pixels
GOLD = (196, 142, 62)
MAT = (250, 240, 218)
NIGHT = (16, 10, 30)
LIT = tuple(name for name in COLOURS if name != "black")
_TUBES: dict[str, tuple[int, int, int]] = {"white": (225, 235, 255), "yellow": (255, 220, 40), "blue": (50, 110, 255)}


@dataclass(frozen=True)
class Style:
    """A style, the words that call it, and whether a picture (uint8 RGB) is drawn in it."""

    name: str
    words: str
    render: Callable[[Scene, Generator], np.ndarray]
    shows: Callable[[np.ndarray], bool]


def neon(scene: Scene, rng: Generator) -> np.ndarray:
    """Glowing tubes along the outlines, before a dark wall; the background of the scene is not seen."""
    canvas = np.broadcast_to(np.array(NIGHT) + rng.uniform(-5, 5, 3), (CANVAS, CANVAS, 3)).astype(np.float32)
    for thing in scene.things:
        tubes = np.zeros((CANVAS, CANVAS), np.uint8)
        for line in _outlines(thing):
            cv2.polylines(tubes, [line], True, 255, 8, cv2.LINE_AA, 4)
        light = tubes.astype(np.float32)[..., None] / 255
        colour = np.array(_TUBES.get(thing.colour, COLOURS[thing.colour]), np.float32)
        near, far = (cv2.GaussianBlur(light, (0, 0), sigma)[..., None] for sigma in (7, 20))
        canvas = canvas + colour * (1.1 * near + 1.0 * far)
        canvas = canvas * (1 - light) + (colour * 0.85 + 50) * light
    return cv2.resize(canvas.clip(0, 255).astype(np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def _outlines(thing: Thing) -> list[np.ndarray]:
    """The corners of all its parts in sixteenths of a pixel of the canvas."""
    cosine, sine = np.cos(thing.angle), np.sin(thing.angle)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    placed = [(part @ turn * thing.radius + [thing.x, thing.y]) * SUPERSAMPLE for part, _ in SHAPES[thing.object]]
    return [np.round(part * 16).astype(np.int32) for part in placed]


def framed(scene: Scene, rng: Generator) -> np.ndarray:
    """A scene in a golden frame with a pale mat, FRAME pixels broad."""
    picture = scenes.render(scene, rng)
    gold = np.array(GOLD) + rng.uniform(-5, 5, 3)
    board = np.empty((SIZE, SIZE, 3), np.float32)
    # Light comes from above and the left: the four sides differ.
    for corners, light in (
        ([(0, 0), (SIZE, 0), (SIZE // 2, SIZE // 2)], 1.12), ([(0, 0), (0, SIZE), (SIZE // 2, SIZE // 2)], 1.0),
        ([(SIZE, 0), (SIZE, SIZE), (SIZE // 2, SIZE // 2)], 0.86),
        ([(0, SIZE), (SIZE, SIZE), (SIZE // 2, SIZE // 2)], 0.78),
    ):  # fmt: skip
        cv2.fillPoly(board, [np.array(corners, np.int32)], tuple(float(v) for v in gold * light))
    board[FRAME - 4 : 4 - FRAME, FRAME - 4 : 4 - FRAME] = MAT
    board[FRAME:-FRAME, FRAME:-FRAME] = picture[FRAME:-FRAME, FRAME:-FRAME]
    return board.clip(0, 255).astype(np.uint8)


def shows_frame(picture: np.ndarray) -> bool:
    """All four sides are golden."""
    strip, wide = 3, FRAME - 5
    sides = (picture[strip:wide], picture[-wide:-strip], picture[:, strip:wide], picture[:, -wide:-strip])
    return all(_is_golden(np.median(side.reshape(-1, 3), 0)) for side in sides)


def _is_golden(colour: np.ndarray) -> bool:
    red, green, blue = (float(value) for value in colour)
    return 110 < red < 240 and 0.55 < green / red < 0.85 and blue / red < 0.55


def suitable_scene(rng: Generator, objects: tuple[str, ...]) -> Scene:
    """A scene of one of these things, large, in a bright colour, and well inside the picture."""
    background = scenes.random_background(rng)
    colours = [name for name in scenes.visible_colours(background) if name in LIT]
    x, y = SIZE / 2 + rng.uniform(-6, 6, 2)
    name, colour = str(rng.choice(objects)), str(rng.choice(colours))
    thing = Thing(name, colour, float(x), float(y), rng.uniform(30, 40), angle=rng.uniform(-0.06, 0.06))
    return Scene(background, (thing,), "single")


class OutlineJudge:
    """Tells which thing a neon picture shows, by holding the outlines of every thing against it."""

    def __init__(self) -> None:
        sizes = [(name, radius) for name in OBJECTS for radius in range(20, 52, 3)]
        self._templates = [(name, _cut(neon, name, radius)) for name, radius in sizes]

    def tell(self, picture: np.ndarray) -> str:
        """The thing whose outlines agree best anywhere, at any size."""
        lights = picture.max(2).astype(np.float32)

        def agreement(template: np.ndarray) -> float:
            found = cv2.matchTemplate(lights, template, cv2.TM_CCOEFF_NORMED).max()
            # A small template may lie on a part of a large thing: what it leaves unexplained counts against it.
            return float(found) * (template.size / SIZE**2) ** 0.08

        return max(self._templates, key=lambda each: agreement(each[1]))[0]


def shows_neon(picture: np.ndarray) -> bool:
    """A dark wall on all sides, and lights that go around something darker: an eighth of what they enclose or more."""
    value = picture.max(2)
    border = np.concatenate([value[:6].ravel(), value[-6:].ravel(), value[:, :6].ravel(), value[:, -6:].ravel()])
    if np.quantile(border, 0.95) > 80:
        return False
    lights = (value > 0.7 * np.quantile(value, 0.995)).astype(np.uint8)
    around, _ = cv2.findContours(lights, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    enclosed = cv2.drawContours(np.zeros_like(lights), around, -1, 1, cv2.FILLED)
    return bool(lights.sum() < enclosed.sum() * 7 / 8)


def _cut(render: Callable[[Scene, Generator], np.ndarray], name: str, radius: int) -> np.ndarray:
    """The lights of one thing with a little around it."""
    scene = Scene("night", (Thing(name, "white", SIZE / 2, SIZE / 2, radius),), "single")
    lights = render(scene, np.random.default_rng(0)).max(2).astype(np.float32)
    first, last = max(SIZE // 2 - radius - 6, 0), SIZE // 2 + radius + 6
    return lights[first:last, first:last]


@cache
def outline_judge() -> OutlineJudge:
    """The judge, whose templates are drawn when it is first asked."""
    return OutlineJudge()


STYLES = {
    "neon": Style("neon", "neon style", neon, shows_neon),
    "frame": Style("frame", "golden frame", framed, shows_frame),
}
