"""Scripts become series: parts counted through, sheets and notes as the script said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.planner_parts import FakeShelf
from webui import planner
from webui.domain.frozen import Data
from webui.domain.models import Family, ModelInfo
from webui.domain.passes import ScriptCall
from webui.domain.plan import PLANS, Plan, SeriesPlan, SheetPlan
from webui.domain.request import GenerationRequest
from webui.errors import NotFound
from webui.extending.scripts import Expansion, Script, Tools
from webui.planner.saving import find_columns
from webui.settings import Settings

MODEL = ModelInfo(name="m", path=Path("/m"), family=Family.SD1, layout="diffusers", sha256="ab" * 32)


class Counts(Data):
    times: int = 2


def repeat(request: GenerationRequest, options: Counts, tools: Tools) -> Expansion:
    requests = tuple(request.replace(steps=5 + number, seed=tools.draw_seed()) for number in range(options.times))
    sheet = SheetPlan(columns=options.times, cells=tuple(range(2 * options.times)))
    return Expansion(requests=requests, sheets=(sheet,), notes=("twice",))


SHELF = FakeShelf(MODEL, scripts=(Script("Repeat", Counts, repeat),))


def series(**options: object) -> SeriesPlan:
    request = GenerationRequest(batch_count=2, script=ScriptCall(name="repeat", options=options))
    resolved = planner.plan(request, Settings(), SHELF, lambda: 7)
    assert isinstance(resolved, SeriesPlan)
    return resolved


def test_images_count_through_all_parts() -> None:
    resolved = series(times=3)
    assert [image.index for image in resolved.images] == list(range(6))
    assert [part.steps for part in resolved.parts] == [5, 6, 7]
    assert [resolved.part(index).steps for index in range(6)] == [5, 5, 6, 6, 7, 7]
    assert resolved.image(4).seed == 7
    assert len(resolved.batches) == 6


def test_the_scripts_sheets_replace_those_of_the_parts() -> None:
    resolved = series()
    assert [len(sheet.cells) for sheet in resolved.sheets] == [4]
    assert all(not part.sheets for part in resolved.parts)
    assert resolved.notes == ("twice",)


def test_a_series_comes_back_from_its_text() -> None:
    resolved = series()
    assert PLANS.validate_json(resolved.model_dump_json()) == resolved


def test_a_plan_that_names_no_kind_is_a_generation() -> None:
    part = series().parts[0]
    assert isinstance(PLANS.validate_python(part.model_dump(exclude={"kind"})), Plan)


def test_an_unknown_script_names_those_there_are() -> None:
    request = GenerationRequest(script=ScriptCall(name="repaet"))
    with pytest.raises(NotFound, match="repaet") as caught:
        planner.plan(request, Settings(), SHELF, lambda: 1)
    assert "Repeat" in caught.value.hint


@pytest.mark.parametrize(
    ("settings", "count", "columns"),
    [({}, 4, [2]), ({}, 1, []), ({"grid_only_if_multiple": False}, 1, [1]), ({"save_grids": False}, 4, [])],
)
def test_a_batch_has_its_grid(settings: dict[str, bool], count: int, columns: list[int]) -> None:
    request = GenerationRequest(batch_count=count)
    resolved = planner.plan_generation(request, Settings(**settings), SHELF, lambda: 1)
    assert [sheet.columns for sheet in resolved.sheets] == columns


def test_images_that_are_not_kept_have_no_grid() -> None:
    request = GenerationRequest(batch_count=4, keep=False)
    assert planner.plan_generation(request, Settings(), SHELF, lambda: 1).sheets == ()


@pytest.mark.parametrize(
    ("settings", "count", "columns"),
    [({}, 6, 3), ({}, 7, 3), ({"grid_rows": 1}, 6, 6), ({"grid_rows": 0}, 6, 2), ({"grid_without_gaps": True}, 7, 7)],
)
def test_the_shape_of_grids_follows_the_settings(settings: dict[str, Any], count: int, columns: int) -> None:
    assert find_columns(count, Settings(**settings), batch_size=3) == columns


def test_settings_of_a_part_hold_for_that_part_alone() -> None:
    def expand(request: GenerationRequest, options: Counts, tools: Tools) -> Expansion:
        return Expansion(requests=(request, request), settings=({"img2img_extra_noise": 0.5}, {}))

    shelf = FakeShelf(MODEL, scripts=(Script("Noisy", Counts, expand),))
    resolved = planner.plan(GenerationRequest(script=ScriptCall(name="Noisy")), Settings(), shelf, lambda: 7)
    assert isinstance(resolved, SeriesPlan)
    assert [part.picture.extra_noise for part in resolved.parts] == [0.5, 0.0]
