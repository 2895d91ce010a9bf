"""Images put together into one: the grid of a batch, the sheets of a script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from PIL import Image

from webui.domain.plan import SheetPlan

BACKGROUND = (255, 255, 255)


class Sheets:
    """Takes the images of a run as they come and composes the sheets they belong to."""

    def __init__(self, plans: Sequence[SheetPlan]) -> None:
        self._plans = plans
        self._wanted = {cell for plan in plans for cell in plan.cells if cell is not None}
        self._pictures: dict[int, Image.Image] = {}

    def take(self, index: int, picture: Image.Image) -> None:
        """Remember image `index` if a sheet shows it."""
        if index in self._wanted:
            self._pictures[index] = picture

    def compose(self) -> Iterator[tuple[int, Image.Image]]:
        """Yield each sheet with the index of the first image on it; one without any image is left out."""
        for plan in self._plans:
            shown = [cell for cell in plan.cells if cell in self._pictures]
            if shown and shown[0] is not None:
                yield shown[0], compose(plan, self._pictures)


def compose(plan: SheetPlan, pictures: Mapping[int, Image.Image]) -> Image.Image:
    """Return the sheet of `pictures` (by index); cells whose image is missing stay empty."""
    found = [pictures[cell] for cell in plan.cells if cell is not None and cell in pictures]
    width, height = (max(picture.size[side] for picture in found) for side in (0, 1))
    rows = -(-len(plan.cells) // plan.columns)
    across, down = width + plan.margin, height + plan.margin
    sheet = Image.new("RGB", (plan.columns * across - plan.margin, rows * down - plan.margin), BACKGROUND)
    for number, cell in enumerate(plan.cells):
        if cell is not None and cell in pictures:
            sheet.paste(pictures[cell], (number % plan.columns * across, number // plan.columns * down))
    return sheet
