"""Prompt matrix: every combination of the parts of `always this|perhaps this|perhaps that`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from webui.extending.api import (
    MAX_IMAGES,
    MAX_SEED,
    BadRequest,
    Data,
    Expansion,
    ExtensionApi,
    GenerationRequest,
    Script,
    SheetPlan,
    Tools,
    images_of,
)


class MatrixOptions(Data):
    """In the order of A1111's arguments."""

    put_at_start: Annotated[bool, Field(title="Put variable parts at start of prompt")] = False
    different_seeds: Annotated[bool, Field(title="Use different seed for each picture")] = False
    prompt_type: Annotated[Literal["positive", "negative"], Field(title="Select prompt")] = "positive"
    variations_delimiter: Annotated[Literal["comma", "space"], Field(title="Select joining char")] = "comma"
    margin_size: Annotated[int, Field(title="Grid margins (px)", ge=0, le=500, json_schema_extra={"step": 2})] = 0


def make_matrix(request: GenerationRequest, options: MatrixOptions, tools: Tools) -> Expansion:
    """Return one request of one image for each subset of the parts behind the first."""
    field = "prompt" if options.prompt_type == "positive" else "negative_prompt"
    first, *parts = getattr(request, field).split("|")
    optional = [part.strip().strip(",").strip() for part in parts]
    if 2 ** len(optional) > MAX_IMAGES:
        raise BadRequest(
            f"{len(optional)} optional parts have {2 ** len(optional)} combinations: at most {MAX_IMAGES}.",
            hint="Use fewer | in the prompt.",
            field=field,
        )
    seed = tools.draw_seed() if request.seed == -1 else request.seed
    delimiter = ", " if options.variations_delimiter == "comma" else " "
    requests = []
    for number in range(2 ** len(optional)):
        chosen = _chosen(optional, number)
        text = delimiter.join([*chosen, first] if options.put_at_start else [first, *chosen])
        own_seed = (seed + number) % (MAX_SEED + 1) if options.different_seeds else seed
        requests.append(request.replace(**{field: text}, seed=own_seed, batch_size=1, batch_count=1))
    notes = ["A prompt matrix makes one image of each prompt."] if images_of(request) > 1 else []
    if not optional:
        notes.append("Prompt matrix: there is no | in the prompt, so there is nothing to combine.")
    sheets = (_sheet(first, optional, options.margin_size),) if optional else ()
    return Expansion(requests=tuple(requests), sheets=sheets, notes=tuple(notes))


def _chosen(parts: Sequence[str], number: int) -> list[str]:
    """Return the parts that combination `number` has: each stands for one bit of it."""
    return [part for place, part in enumerate(parts) if number >> place & 1]


def _sheet(first: str, parts: Sequence[str], margin: int) -> SheetPlan:
    """The first half of the parts changes from column to column, the rest from row to row."""
    half = (len(parts) + 1) // 2
    across, down = parts[:half], parts[half:]
    return SheetPlan(
        columns=2 ** len(across),
        cells=tuple(range(2 ** len(parts))),
        column_titles=tuple(_title(_chosen(across, number)) for number in range(2 ** len(across))),
        row_titles=tuple(_title(_chosen(down, number)) for number in range(2 ** len(down))) if down else (),
        title=first.strip(),
        margin=margin,
    )


def _title(chosen: Sequence[str]) -> str:
    return " + ".join(chosen) or "-"


def register(api: ExtensionApi) -> None:
    api.add_script(
        Script(
            name="Prompt matrix",
            aliases=("prompt_matrix", "prompt_matrix.py"),
            options=MatrixOptions,
            expand=make_matrix,
            description="Makes one image for each combination of the parts of the prompt that | separates.",
        )
    )
