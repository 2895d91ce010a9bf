"""From three axes to the requests of all cells and the sheets that show them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from extensions.xyz_plot.axes import Axis, find_axis
from extensions.xyz_plot.options import XyzOptions
from extensions.xyz_plot.values import fractions, join_list, orders, split_list, whole_numbers
from webui.extending.api import (
    MAX_IMAGES,
    MAX_SEED,
    BadRequest,
    Expansion,
    GenerationRequest,
    Page,
    SheetPlan,
    Tools,
    images_of,
    page_of,
)

NAMES = ("X", "Y", "Z")


@dataclass(frozen=True)
class Scale:
    """One axis with its values as text, as they were typed, and as they count."""

    name: str  # X, Y or Z
    axis: Axis
    text: str
    values: tuple[Any, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.axis.show(self.axis.label, value) for value in self.values)


def plot(request: GenerationRequest, options: XyzOptions, tools: Tools) -> Expansion:
    """Return one request for each cell, ordered so that what is slow to change is changed least often."""
    if not options.no_fixed_seeds:
        request = _fix_seeds(request, tools)
    scales = tuple(_read_scale(name, request, options, tools) for name in NAMES)
    _check(request, scales)
    cells = list(_ordered(scales))
    requests = tuple(_make_cell(request, scales, cell, options) for cell in cells)
    per_cell = images_of(request)
    first_image = {cell: number * per_cell for number, cell in enumerate(cells)}
    return Expansion(
        requests=requests,
        settings=tuple(_settings(scales, cell) for cell in cells),
        sheets=tuple(_sheets(scales, first_image, per_cell, options)),
        only_sheets=not options.include_lone_images,
    )


Cell = tuple[int, int, int]
"""Which value of X, of Y and of Z."""


def _fix_seeds(request: GenerationRequest, tools: Tools) -> GenerationRequest:
    if request.variation is not None and request.variation.seed == -1:
        request = request.replace(variation=request.variation.replace(seed=tools.draw_seed()))
    return request.replace(seed=tools.draw_seed()) if request.seed == -1 else request


def _read_scale(name: str, request: GenerationRequest, options: XyzOptions, tools: Tools) -> Scale:
    wanted, typed, chosen = options.axis(name)
    axis = find_axis(wanted, page_of(request))
    if axis.label == "Nothing":
        return Scale(name, axis, "", (None,))
    field = f"script.options.{name.lower()}_values"
    listed = bool(axis.choices and chosen and not options.csv_mode)
    items = list(chosen) if listed else split_list(typed)
    if not items:
        raise BadRequest(
            f"The {name} axis ({axis.label}) has no values.", hint="Name some, such as 10, 20, 30.", field=field
        )
    values = _read(axis, items, field)
    if axis.label in ("Seed", "Var. seed") and not options.no_fixed_seeds:
        values = [tools.draw_seed() if value == -1 else value for value in values]
    if len(values) > MAX_IMAGES:
        raise BadRequest(f"The {name} axis has {len(values)} values.", hint=f"At most {MAX_IMAGES}.", field=field)
    return Scale(name, axis, join_list(items) if listed else typed, tuple(values))


def _read(axis: Axis, items: Sequence[str], field: str) -> Sequence[Any]:
    """Return the values that `items` stand for; raise BadRequest at `field` if one is none."""
    try:
        if axis.values == "whole":
            return whole_numbers(items, axis.label)
        if axis.values == "fraction":
            return fractions(items, axis.label)
        return orders(items, axis.label) if axis.values == "orders" else items
    except BadRequest as error:
        raise BadRequest(error.message, hint=error.hint, field=field) from error


def _check(request: GenerationRequest, scales: Sequence[Scale]) -> None:
    images = math.prod(len(scale.values) for scale in scales) * images_of(request)
    if images > MAX_IMAGES:
        raise BadRequest(
            f"The plot would be made of {images} images: at most {MAX_IMAGES}.",
            hint="Name fewer values, or lower the batch count.",
            field="script",
        )
    page, labels = page_of(request), {scale.axis.label for scale in scales}
    for scale in scales:
        if lack := _lack(scale.axis, request, page, labels):
            raise BadRequest(f"Axis {scale.axis.label!r} has no effect: {lack}.", hint="Turn it on.", field="script")


def _lack(axis: Axis, request: GenerationRequest, page: Page, labels: set[str]) -> str:
    """Return what is switched off that `axis` would change; empty if nothing is."""
    if request.hires is None and (axis.needs == "hires" or (axis.needs == "picture" and page == "txt2img")):
        return "hires fix is off"
    if axis.needs == "refiner" and request.refiner is None and "Refiner checkpoint" not in labels:
        return "there is no refiner"
    return ""


def _ordered(scales: Sequence[Scale]) -> Iterator[Cell]:
    """Yield all cells; the axis that costs most turns slowest, otherwise Z, then Y, then X."""
    order = sorted((2, 1, 0), key=lambda number: -scales[number].axis.cost)
    for turn in itertools.product(*(range(len(scales[number].values)) for number in order)):
        places = dict(zip(order, turn, strict=True))
        yield places[0], places[1], places[2]


def _make_cell(
    request: GenerationRequest, scales: Sequence[Scale], cell: Cell, options: XyzOptions
) -> GenerationRequest:
    chosen = list(zip(scales, cell, strict=True))
    # whether there is a refiner is settled before when it takes over
    for scale, number in sorted(chosen, key=lambda pair: pair[0].axis.needs == "refiner"):
        request = scale.axis.apply(request, scale.values[number], scale.values)
    return _vary_seed(request, scales, cell, options)


def _settings(scales: Sequence[Scale], cell: Cell) -> dict[str, Any]:
    chosen = zip(scales, cell, strict=True)
    return {scale.axis.setting: scale.values[number] for scale, number in chosen if scale.axis.setting}


def _vary_seed(
    request: GenerationRequest, scales: Sequence[Scale], cell: Cell, options: XyzOptions
) -> GenerationRequest:
    """Count the seed up along the axes that are to vary it, so that no two cells of them share one."""
    offset, stride = 0, 1
    for scale, number, varies in zip(
        scales, cell, (options.vary_seeds_x, options.vary_seeds_y, options.vary_seeds_z), strict=True
    ):
        if varies:
            offset, stride = offset + number * stride, stride * len(scale.values)
    if not offset or request.seed == -1:
        return request
    return request.replace(seed=(request.seed + offset) % (MAX_SEED + 1))


def _sheets(
    scales: Sequence[Scale], first_image: dict[Cell, int], per_cell: int, options: XyzOptions
) -> Iterator[SheetPlan]:
    """Yield the sheet of everything, then, if they are wanted, one for each value of Z."""
    depth = range(len(scales[2].values))
    yield _sheet(scales, depth, first_image, per_cell, options)
    if options.include_sub_grids and len(depth) > 1:
        for number in depth:
            yield _sheet(scales, [number], first_image, per_cell, options)


def _sheet(
    scales: Sequence[Scale], depth: Sequence[int], first_image: dict[Cell, int], per_cell: int, options: XyzOptions
) -> SheetPlan:
    """Return the sheet of the values `depth` of Z side by side. The images of one cell stand together in a block."""
    across, down = len(scales[0].values), len(scales[1].values)
    wide = math.ceil(math.sqrt(per_cell))
    high = math.ceil(per_cell / wide)
    cells = []
    for y, row, z, x, column in itertools.product(range(down), range(high), depth, range(across), range(wide)):
        inside = row * wide + column
        cells.append(first_image[x, y, z] + inside if inside < per_cell else None)
    columns, rows, groups = (scale.labels if options.draw_legend and any(scale.labels) else () for scale in scales)
    return SheetPlan(
        columns=len(depth) * across * wide,
        cells=tuple(cells),
        column_titles=columns * len(depth),
        row_titles=rows,
        group_titles=groups if len(depth) > 1 else (),
        title=groups[depth[0]] if groups and len(depth) == 1 else "",
        margin=options.margin_size,
        facts=_facts(scales, options),
    )


def _facts(scales: Sequence[Scale], options: XyzOptions) -> dict[str, str]:
    """Return what A1111 writes about a plot into the parameters of its sheets."""
    facts: dict[str, str] = {}
    for scale in scales:
        if scale.axis.label == "Nothing":
            continue
        facts |= {f"{scale.name} Type": scale.axis.label, f"{scale.name} Values": scale.text}
        if scale.axis.label in ("Seed", "Var. seed") and not options.no_fixed_seeds:
            facts[f"Fixed {scale.name} Values"] = ", ".join(map(str, scale.values))
    return facts
