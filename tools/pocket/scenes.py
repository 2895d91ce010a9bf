"""Procedural picture-book scenes with captions and exact labels: the pocket model's whole world.

Everything is drawn, nothing is collected: a scene is one thing, or two side by side or one above the other, in
front of one background.  A caption is composed of phrases and remembers what it mentions, so that a text encoder
can be taught by exact labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

SIZE = 128
SUPERSAMPLE = 2
CANVAS = SIZE * SUPERSAMPLE

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 40, 40),
    "orange": (247, 138, 25),
    "yellow": (252, 216, 45),
    "green": (35, 145, 60),
    "blue": (40, 85, 225),
    "purple": (135, 50, 185),
    "pink": (252, 135, 190),
    "white": (246, 246, 246),
    "black": (24, 24, 26),
}
OBJECTS = (
    "circle", "square", "triangle", "star", "heart", "house", "tree", "moon", "fish", "boat",
    "flower", "sun", "cat", "car",
)  # fmt: skip
PLAIN: dict[str, tuple[int, int, int]] = {
    "white": (246, 246, 244),
    "gray": (150, 150, 152),
    "black": (20, 20, 22),
    "blue": (140, 190, 248),
    "pink": (250, 196, 216),
    "yellow": (250, 236, 150),
}
PLACES = ("sky", "sea", "field", "night", "sunset", "snow", "desert")
BACKGROUNDS = tuple(f"plain {name}" for name in PLAIN) + PLACES
SIZES = ("small", "medium", "big")
POSITIONS = ("left", "right", "top", "bottom", "center")
RELATIONS = ("single", "beside", "above")
HARD_TO_SEE = {
    ("plain white", "white"),
    ("snow", "white"),
    ("plain black", "black"),
    ("night", "black"),
    ("plain blue", "blue"),
    ("plain pink", "pink"),
    ("plain yellow", "yellow"),
}


@dataclass(frozen=True)
class Thing:
    """One drawn object; centre and radius in pixels of the finished picture."""

    object: str
    colour: str
    x: float
    y: float
    radius: float
    size: str = "medium"
    position: str = ""
    angle: float = 0.0


@dataclass(frozen=True)
class Scene:
    """What a picture shows.  With two things, the first is the left or the upper one."""

    background: str
    things: tuple[Thing, ...]
    relation: str


@dataclass(frozen=True)
class Caption:
    """A caption and what it says; a blank means that the caption is silent about it."""

    text: str
    object: str = ""
    colour: str = ""
    size: str = ""
    position: str = ""
    second_object: str = ""
    second_colour: str = ""
    background: str = ""
    relation: str = ""


def is_held_out(object: str, colour: str, background: str) -> bool:
    """Whether this combination is never drawn alone in training, so that a test may call it unseen."""
    code = OBJECTS.index(object) * 7 + list(COLOURS).index(colour) * 5 + BACKGROUNDS.index(background) * 3
    return code % 10 == 0


def visible_colours(background: str) -> list[str]:
    """The colours that stand out from a background."""
    return [colour for colour in COLOURS if (background, colour) not in HARD_TO_SEE]


# Shapes: polygons in a unit box, y downwards, each with its paint: "main", "dark" or a fixed colour.

Paint = str | tuple[int, int, int]


def _points(*flat: float) -> np.ndarray:
    return np.array(flat, float).reshape(-1, 2)


def _arc(x: float, y: float, radius: float, start: float = 0, stop: float = 360, count: int = 40) -> np.ndarray:
    angles = np.radians(np.linspace(start, stop, count))
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)


def _star(points: int = 5, inner: float = 0.45) -> np.ndarray:
    index = np.arange(2 * points)
    radius = np.where(index % 2 == 0, 1.0, inner)
    angles = index * math.pi / points - math.pi / 2
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1)


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * math.pi, 60)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3 / 17, -(y + 2) / 16], 1)


def _turn(angle: float) -> np.ndarray:
    """The matrix that turns row vectors."""
    return np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def _shapes() -> dict[str, list[tuple[np.ndarray, Paint]]]:
    window, wood, sail = (252, 238, 170), (118, 74, 42), (250, 250, 248)
    crescent = np.concatenate([_arc(-0.02, 0, 1, 52, 308, 48), _arc(0.42, 0, 0.8, 286, 74)])
    leaves = np.concatenate(
        [_arc(-0.42, -0.12, 0.5, 60, 240, 20), _arc(0, -0.46, 0.52, 200, 340, 20), _arc(0.42, -0.12, 0.5, -60, 120, 20)]
    )
    body = _arc(0, 0, 1)
    petals = np.arange(5) * 2 * math.pi / 5
    rays, ray = np.arange(8) * math.pi / 4, _points(-0.2, -0.62, 0, -1.02, 0.2, -0.62)
    return {
        "circle": [(_arc(0, 0, 0.95), "main")],
        "square": [(_points(-0.85, -0.85, 0.85, -0.85, 0.85, 0.85, -0.85, 0.85), "main")],
        "triangle": [(_points(0, -0.95, 1, 0.8, -1, 0.8), "main")],
        "star": [(_star(), "main")],
        "heart": [(_heart(), "main")],
        "house": [
            (_points(-0.72, -0.15, 0.72, -0.15, 0.72, 0.95, -0.72, 0.95), "main"),
            (_points(0, -1, 1, -0.12, -1, -0.12), "dark"),
            (_points(-0.5, 0.3, -0.06, 0.3, -0.06, 0.95, -0.5, 0.95), "dark"),
            (_points(0.14, 0.2, 0.52, 0.2, 0.52, 0.58, 0.14, 0.58), window),
        ],
        "tree": [(_points(-0.17, 0.2, 0.17, 0.2, 0.22, 1, -0.22, 1), wood), (leaves, "main")],
        "moon": [(crescent, "main")],
        "fish": [
            (_points(0.4, 0, 1, -0.55, 1, 0.55), "dark"),
            (body * [0.8, 0.55] + [-0.2, 0], "main"),
            (_arc(-0.6, -0.12, 0.14, count=16), (246, 246, 246)),
            (_arc(-0.62, -0.12, 0.07, count=12), (16, 16, 16)),
        ],
        "boat": [
            (_points(-1, 0.35, 1, 0.35, 0.62, 0.92, -0.62, 0.92), "main"),
            (_points(-0.06, -0.98, 0.04, -0.98, 0.04, 0.36, -0.06, 0.36), wood),
            (_points(0.1, -0.9, 0.82, 0.22, 0.1, 0.22), sail),
            (_points(-0.12, -0.7, -0.68, 0.22, -0.12, 0.22), "dark"),
        ],
        "flower": [
            (_points(-0.08, 0, 0.08, 0, 0.08, 1, -0.08, 1), (52, 128, 62)),
            (_points(0.05, 0.85, 0.2, 0.5, 0.62, 0.45, 0.45, 0.75), (62, 146, 70)),
            *((_arc(0.43 * math.sin(a), -0.35 - 0.43 * math.cos(a), 0.31, count=24), "main") for a in petals),
            (_arc(0, -0.35, 0.26, count=24), (122, 74, 40)),
        ],
        "sun": [*((ray @ _turn(a), "main") for a in rays), (_arc(0, 0, 0.6), "main")],
        "cat": [
            (_points(-0.85, -0.95, -0.15, -0.5, -0.8, 0.15), "main"),
            (_points(0.85, -0.95, 0.15, -0.5, 0.8, 0.15), "main"),
            (body * [0.92, 0.78] + [0, 0.15], "main"),
            *((_arc(x, 0.05, 0.17, count=20) * [1, 1], (250, 250, 246)) for x in (-0.38, 0.38)),
            *((_arc(x, 0.05, 0.09, count=16), (18, 18, 18)) for x in (-0.38, 0.38)),
            (_points(-0.15, 0.36, 0.15, 0.36, 0, 0.54), (240, 120, 140)),
        ],
        "car": [
            (_points(-0.55, -0.1, -0.36, -0.62, 0.32, -0.62, 0.58, -0.1), "main"),
            (_points(-0.4, -0.1, -0.26, -0.48, -0.06, -0.48, -0.06, -0.1), (206, 232, 246)),
            (_points(0.06, -0.1, 0.06, -0.48, 0.24, -0.48, 0.42, -0.1), (206, 232, 246)),
            (_points(-1, -0.12, 0.85, -0.12, 1, 0.1, 1, 0.42, -1, 0.42), "main"),
            *((_arc(x, 0.42, 0.27, count=24), (30, 30, 34)) for x in (-0.52, 0.52)),
            *((_arc(x, 0.42, 0.12, count=16), (196, 196, 200)) for x in (-0.52, 0.52)),
        ],
    }


SHAPES = _shapes()


def _jitter(colour: Sequence[float], rng: Generator, amount: float = 8) -> np.ndarray:
    return np.clip(np.array(colour, float) + rng.uniform(-amount, amount, 3), 0, 255)


def _gradient(stops: Sequence[Sequence[float]], height: int) -> np.ndarray:
    where = np.linspace(0, len(stops) - 1, height)
    channels = [np.interp(where, range(len(stops)), [stop[k] for stop in stops]) for k in range(3)]
    return np.stack(channels, 1).astype(np.float32)[:, None, :]


def _hill(canvas: np.ndarray, level: float, colour: np.ndarray, rng: Generator, swing: float = 10) -> None:
    """Fill everything below a gentle wave."""
    xs = np.arange(0, CANVAS + 8, 8)
    ys = level + swing * np.sin(xs / rng.uniform(34, 52) + rng.uniform(0, 6.28))
    polygon = np.concatenate([np.stack([xs, ys], 1), [[CANVAS, CANVAS], [0, CANVAS]]])
    cv2.fillPoly(canvas, [np.round(polygon).astype(np.int32)], tuple(float(v) for v in colour), cv2.LINE_AA)


def _dots(canvas: np.ndarray, count: int, radii: tuple[int, int], colour: tuple[int, int, int], rng: Generator) -> None:
    for _ in range(count):
        centre = (int(rng.integers(4, CANVAS - 4)), int(rng.integers(4, CANVAS - 4)))
        cv2.circle(canvas, centre, int(rng.integers(radii[0], radii[1] + 1)), colour, -1, cv2.LINE_AA)


def _background(name: str, rng: Generator) -> np.ndarray:
    """Draw a background on the supersampled canvas."""
    if name.startswith("plain "):
        return np.broadcast_to(_jitter(PLAIN[name[6:]], rng), (CANVAS, CANVAS, 3)).astype(np.uint8).copy()
    stops = {
        "sky": [(88, 160, 240), (196, 228, 252)],
        "sea": [(176, 216, 246), (214, 236, 250)],
        "field": [(140, 200, 250), (206, 232, 252)],
        "night": [(10, 12, 44), (40, 44, 104)],
        "sunset": [(88, 54, 136), (232, 112, 130), (255, 196, 112)],
        "snow": [(150, 182, 216), (206, 222, 238)],
        "desert": [(250, 214, 150), (254, 236, 196)],
    }[name]
    upper = _gradient([_jitter(stop, rng, 6) for stop in stops], CANVAS)
    canvas = np.broadcast_to(upper, (CANVAS, CANVAS, 3)).clip(0, 255).astype(np.uint8).copy()
    level = CANVAS * rng.uniform(0.58, 0.68)
    match name:
        case "sky":
            for _ in range(rng.integers(2, 4)):
                x, y = int(rng.integers(0, CANVAS)), int(rng.integers(20, CANVAS - 30))
                for shift, size in ((-26, (22, 13)), (0, (32, 20)), (26, (22, 13))):
                    cv2.ellipse(canvas, (x + shift, y), size, 0, 0, 360, (250, 251, 253), -1, cv2.LINE_AA)
        case "sea":
            _hill(canvas, level, _jitter((48, 150, 178), rng, 6), rng, 3)
            for step in range(3):
                _hill(canvas, level + 28 * (step + 1), np.array((44, 138, 170)) - 12.0 * step, rng, 5)
        case "field":
            _hill(canvas, level, _jitter((158, 210, 96), rng, 6), rng)
            _hill(canvas, level + 44, _jitter((128, 192, 82), rng, 6), rng)
        case "snow":
            _hill(canvas, level, _jitter((238, 243, 252), rng, 4), rng)
            _dots(canvas, int(rng.integers(12, 18)), (3, 5), (252, 253, 255), rng)
        case "desert":
            _hill(canvas, level, _jitter((232, 184, 112), rng, 6), rng, 14)
            _hill(canvas, level + 40, _jitter((218, 164, 92), rng, 6), rng, 10)
        case "night":
            _dots(canvas, int(rng.integers(12, 18)), (3, 4), (252, 250, 214), rng)
    return canvas


def _draw(canvas: np.ndarray, thing: Thing, rng: Generator) -> None:
    """Paint one thing, each part a little lighter at its top than at its foot."""
    main = _jitter(COLOURS[thing.colour], rng, 8)
    dark = main * 0.62 if main.mean() > 60 else main + 52
    turn = _turn(thing.angle)
    for polygon, paint in SHAPES[thing.object]:
        colour = main if paint == "main" else dark if paint == "dark" else np.array(paint, float)
        corners = (polygon @ turn * thing.radius + [thing.x, thing.y]) * SUPERSAMPLE
        left, top = np.maximum(np.floor(corners.min(0)).astype(int) - 2, 0)
        right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int) + 3, CANVAS)
        if right <= left or bottom <= top:
            continue
        mask = np.zeros((bottom - top, right - left), np.uint8)
        fixed = np.round((corners - [left, top]) * 16).astype(np.int32)
        cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, 4)
        light = np.clip(_gradient([colour * 1.06 + 5, colour * 0.9], bottom - top), 0, 255)
        cover = mask[..., None].astype(np.float32) / 255
        area = canvas[top:bottom, left:right]
        area[:] = (area * (1 - cover) + light * cover + 0.5).astype(np.uint8)


def paint(scene: Scene, rng: Generator) -> np.ndarray:
    """The picture as uint8 RGB, as large as it is drawn: CANVAS pixels a side."""
    canvas = _background(scene.background, rng)
    for thing in scene.things:
        _draw(canvas, thing, rng)
    return canvas


def render(scene: Scene, rng: Generator) -> np.ndarray:
    """The picture as uint8 RGB."""
    return cv2.resize(paint(scene, rng), (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def random_background(rng: Generator) -> str:
    """Places a little more often than plain colours."""
    names = PLACES if rng.random() < 0.6 else BACKGROUNDS[: len(PLAIN)]
    return str(rng.choice(names))


def random_scene(rng: Generator, pairs: float = 0.3, first_index: int = 0) -> Scene:
    """A scene of one thing or, with the given share, of two different ones.

    `first_index` leaves out the objects before it, except as the second of a pair.
    """
    background = random_background(rng)
    colours = visible_colours(background)
    if rng.random() < pairs:
        chosen = [int(rng.integers(first_index, len(OBJECTS))), int(rng.integers(len(OBJECTS) - 1))]
        chosen[1] += chosen[1] >= chosen[0]
        first, second = rng.permutation(chosen)
        relation = "beside" if rng.random() < 0.5 else "above"
        pair = []
        for order, which in enumerate((first, second)):
            radius = rng.uniform(22, 29)
            along = rng.uniform(radius + 3, 36) if radius < 32 else 34.0
            along = along if order == 0 else SIZE - along
            across = SIZE / 2 + rng.uniform(-9, 9)
            x, y = (along, across) if relation == "beside" else (across, along)
            colour = str(rng.choice(colours))
            pair.append(Thing(OBJECTS[which], colour, x, y, radius, angle=rng.uniform(-0.06, 0.06)))
        return Scene(background, tuple(pair), relation)
    while True:
        name, colour = str(rng.choice(OBJECTS[first_index:])), str(rng.choice(colours))
        if not is_held_out(name, colour, background):
            break
    size = str(rng.choice(SIZES, p=[0.15, 0.6, 0.25]))
    low, high = {"small": (18, 23), "medium": (28, 38), "big": (42, 50)}[size]
    radius = rng.uniform(low, high)
    position = "center" if size == "big" else str(rng.choice(POSITIONS, p=[0.12, 0.12, 0.1, 0.1, 0.56]))
    x, y = SIZE / 2 + rng.uniform(-6, 6, 2)
    near = rng.uniform(radius + 4, max(radius + 5, 40))
    match position:
        case "left":
            x = near
        case "right":
            x = SIZE - near
        case "top":
            y = near
        case "bottom":
            y = SIZE - near
    thing = Thing(name, colour, float(x), float(y), radius, size, position, rng.uniform(-0.06, 0.06))
    return Scene(background, (thing,), "single")


# Captions

SYNONYMS = {
    "circle": ("circle", "circle", "circle", "ball", "disc"),
    "square": ("square", "square", "square", "box"),
    "boat": ("boat", "boat", "ship", "sailboat"),
    "moon": ("moon", "moon", "crescent moon"),
    "house": ("house", "house", "home", "cottage"),
    "cat": ("cat", "cat", "cat", "cat face"),
}
SIZE_WORDS = {"small": ("small", "little", "tiny"), "big": ("big", "large", "huge"), "medium": ("",)}
PLACE_PHRASES = {
    "sky": ("in the sky", "sky", "blue sky with clouds", "sky background", "cloudy sky"),
    "sea": ("at sea", "sea", "on the sea", "ocean", "on the ocean", "sea background"),
    "field": ("on a grass field", "in a field", "field", "grass", "green field", "on the grass"),
    "night": ("at night", "night sky", "night", "night sky with stars", "in the night", "starry night"),
    "sunset": ("at sunset", "sunset", "sunset sky", "evening", "in front of a sunset"),
    "snow": ("in the snow", "snow", "winter", "snow landscape", "in winter"),
    "desert": ("in the desert", "desert", "sand desert", "on sand"),
}
POSITION_PHRASES = {
    "left": ("on the left", "left", "on the left side"),
    "right": ("on the right", "right", "on the right side"),
    "top": ("at the top", "top", "up high"),
    "bottom": ("at the bottom", "bottom", "down low"),
    "center": ("in the center", "in the middle", "centered"),
}
FILLERS = (
    "beautiful", "masterpiece", "best quality", "highly detailed", "8k", "simple", "cute", "nice", "digital art",
    "professional", "hd", "sharp", "picture", "image", "illustration", "flat illustration", "drawing", "flat style",
    "colorful", "picture book", "minimal", "detailed", "high quality", "bright", "artwork",
)  # fmt: skip
OPENINGS = ("a drawing of ", "a picture of ", "an illustration of ", "a photo of ", "a painting of ", "an image of ")
EXTRA_WORDS = [
    "cat",
    "dog",
    "person",
    "man",
    "woman",
    "girl",
    "boy",
    "car",
    "flower",
    "sun",
    "mountain",
    "river",
    "cloud",
    "forest",
    "city",
    "no",
    "not",
    "gray",
    "grey",
    "brown",
    "dark",
    "light",
    "golden",
    "silver",
    "lion",
    "horse",
    "bird",
    "tower",
    "castle",
    "road",
    "bridge",
    "water",
    "fire",
    "ice",
    "style",
    "oil",
    "watercolor",
    "anime",
    "realistic",
    "portrait",
    "landscape",
    "low",
    "worst",
    "quality",
    "blurry",
    "ugly",
    "bad",
    "text",
    "watermark",
    "signature",
    "two",
    "three",
    "many",
    "red-haired",
    "neon",
    "vintage",
    "abstract",
    "black-and-white",
    "over",
    "with",
    "without",
    "behind",
    "front",
    "between",
    "inside",
    "outside",
]


def _pick(rng: Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def background_phrase(background: str, rng: Generator) -> str:
    """One way of naming a background."""
    if background.startswith("plain "):
        name = background[6:]
        return _pick(rng, (f"{name} background", f"on a {name} background", f"on {name}", f"plain {name} background"))
    return _pick(rng, PLACE_PHRASES[background])


def _noun_phrase(thing: Thing, rng: Generator, mention_colour: bool, mention_size: bool) -> str:
    noun = _pick(rng, SYNONYMS.get(thing.object, (thing.object,)))
    size = _pick(rng, SIZE_WORDS[thing.size]) if mention_size else ""
    words = [word for word in (size, thing.colour if mention_colour else "", noun) if word]
    article = _pick(rng, ("a", "a", "a", "a", "one", "the", ""))
    if article == "a" and words[0][0] in "aeiou" and rng.random() < 0.9:
        article = "an"
    return " ".join([article, *words] if article else words)


def caption(scene: Scene, rng: Generator) -> Caption:
    """Describe a scene, more or less completely, in one of many ways."""
    first = scene.things[0]
    if rng.random() < 0.16:
        return _short_caption(scene, rng)
    background = scene.background if rng.random() < 0.85 else ""
    place = background_phrase(background, rng) if background else ""
    colour = first.colour if rng.random() < 0.94 else ""
    if len(scene.things) == 2:
        second = scene.things[1]
        second_colour = second.colour if rng.random() < 0.94 else ""
        a = _noun_phrase(first, rng, bool(colour), False)
        b = _noun_phrase(second, rng, bool(second_colour), False)
        if scene.relation == "beside":
            bodies = (
                f"{a} on the left and {b} on the right", f"{a} to the left of {b}", f"{b} to the right of {a}",
                f"{a} and {b}", f"{a} next to {b}", f"{a} left of {b}", f"{b} right of {a}", f"{a} beside {b}",
                f"{b} on the right, {a} on the left",
            )  # fmt: skip
        else:
            bodies = (
                f"{a} above {b}", f"{b} below {a}", f"{a} over {b}", f"{b} under {a}", f"{b} under {a}",
                f"{a} at the top and {b} at the bottom", f"{a} on top of {b}", f"{b} beneath {a}",
            )  # fmt: skip
        said = Caption("", first.object, colour, "", "", second.object, second_colour, background, scene.relation)
        parts = [_pick(rng, bodies), place]
    else:
        has_size = first.size != "medium" and rng.random() < 0.8
        body = _noun_phrase(first, rng, bool(colour), has_size)
        mention = 0.75 if first.position != "center" else 0.2
        position = first.position if first.position and rng.random() < mention else ""
        where = _pick(rng, POSITION_PHRASES[position]) if position else ""
        size = first.size if has_size else ""
        said = Caption("", first.object, colour, size, position, "", "", background, "single")
        parts = [body, where, place]
    fillers = [_pick(rng, FILLERS) for _ in range(rng.choice([0, 1, 2], p=[0.78, 0.15, 0.07]))]
    if rng.random() < 0.02:
        fillers.append("".join(chr(97 + int(rng.integers(26))) for _ in range(rng.integers(3, 8))))
    parts = [part for part in parts if part]
    if rng.random() < 0.45:
        tags = parts + fillers
        if rng.random() < 0.35:
            tags = [tags[i] for i in rng.permutation(len(tags))]
        text = ", ".join(tags)
    else:
        opening = _pick(rng, OPENINGS) if rng.random() < 0.3 else ""
        text = ", ".join([opening + " ".join(parts), *fillers])
    if rng.random() < 0.05:
        text = text[:1].upper() + text[1:] + rng.choice(["", "."])
    return Caption(**{**vars(said), "text": text})


def _short_caption(scene: Scene, rng: Generator) -> Caption:
    """One bare idea or two, so that a negative prompt such as "red" means something."""
    first = scene.things[0]
    if len(scene.things) == 1:
        match int(rng.integers(5)):
            case 0 | 1:
                forms = (first.colour, first.colour, f"{first.colour} thing", f"{first.colour} color")
                return Caption(_pick(rng, forms), colour=first.colour)
            case 2:
                return Caption(first.object, object=first.object)
            case 3:
                return Caption(f"{first.colour} {first.object}", object=first.object, colour=first.colour)
    return Caption(background_phrase(scene.background, rng), background=scene.background)


# Labels as small integers; 0 is always "not said" or "not there".

LABELS: dict[str, tuple[str, ...]] = {
    "object": OBJECTS,
    "colour": tuple(COLOURS),
    "size": SIZES,
    "position": POSITIONS,
    "second_object": OBJECTS,
    "second_colour": tuple(COLOURS),
    "background": BACKGROUNDS,
    "relation": RELATIONS,
}


def label_codes(said: Caption) -> list[int]:
    """What a caption says, one integer for each entry of LABELS."""
    return [0 if not getattr(said, key) else names.index(getattr(said, key)) + 1 for key, names in LABELS.items()]


def scene_codes(scene: Scene) -> list[int]:
    """What a scene shows, in the same order."""
    first = scene.things[0]
    second = scene.things[1] if len(scene.things) == 2 else None
    shown = Caption(
        "", first.object, first.colour, first.size, first.position, second.object if second else "",
        second.colour if second else "", scene.background, scene.relation,
    )  # fmt: skip
    return label_codes(shown)


def coverage(scene: Scene, cells: int = 16) -> np.ndarray:
    """Which object covers which cell: [cells, cells] of 0 (background) or 1 + the object's index."""
    board = np.zeros((cells * 4, cells * 4), np.uint8)
    scale = cells * 4 / SIZE
    for thing in scene.things:
        turn = _turn(thing.angle)
        for polygon, _ in SHAPES[thing.object]:
            corners = np.round((polygon @ turn * thing.radius + [thing.x, thing.y]) * scale).astype(np.int32)
            cv2.fillPoly(board, [corners], OBJECTS.index(thing.object) + 1)
    blocks = board.reshape(cells, 4, cells, 4).transpose(0, 2, 1, 3).reshape(cells, cells, 16)
    return np.where((blocks > 0).sum(-1) >= 6, blocks.max(-1), 0).astype(np.uint8)


CAPTIONS_PER_PICTURE = 4


def draw_chunk(
    seed: int, count: int, first_index: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[list[Caption]]]:
    """Pictures, coverage maps, scene labels and captions of `count` random scenes."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    pictures = np.empty((count, SIZE, SIZE, 3), np.uint8)
    covers = np.empty((count, 16, 16), np.uint8)
    codes, captions = [], []
    for index in range(count):
        scene = random_scene(rng, first_index=first_index)
        pictures[index] = render(scene, rng)
        covers[index] = coverage(scene)
        codes.append(scene_codes(scene))
        captions.append([caption(scene, rng) for _ in range(CAPTIONS_PER_PICTURE)])
    return pictures, covers, np.array(codes, np.uint8), captions


def sheet(pictures: Sequence[np.ndarray], columns: int, gap: int = 2) -> np.ndarray:
    """A contact sheet."""
    height, width = pictures[0].shape[:2]
    rows = math.ceil(len(pictures) / columns)
    board = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        board[top : top + height, left : left + width] = picture
    return board
