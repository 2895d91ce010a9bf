"""Prompt matrix, and prompts from a file."""

from __future__ import annotations

import pytest

from tests.extensions.parts import FIRST_DRAWN, expand, expand_args
from webui.domain.request import GenerationRequest
from webui.domain.sampling_options import Variation
from webui.errors import BadRequest, NotFound

MATRIX = GenerationRequest(prompt="a house|red|, at night", negative_prompt="dots|blur", seed=5)
PLAIN = GenerationRequest(prompt="", seed=5, steps=7)
FILE = "Prompts from file or textbox"


def test_a_matrix_has_every_combination_on_one_sheet() -> None:
    made = expand(MATRIX, "Prompt matrix")
    assert [each.prompt for each in made.requests] == [
        "a house", "a house, red", "a house, at night", "a house, red, at night",
    ]  # fmt: skip
    assert {each.seed for each in made.requests} == {5}
    (sheet,) = made.sheets
    assert (sheet.columns, sheet.cells, sheet.title) == (2, (0, 1, 2, 3), "a house")
    assert sheet.column_titles == ("-", "red")
    assert sheet.row_titles == ("-", "at night")


def test_a_matrix_by_arguments_at_the_start_with_other_seeds_and_spaces() -> None:
    made = expand_args(MATRIX, "prompt matrix", True, True, "negative", "space", 10)
    assert [each.negative_prompt for each in made.requests] == ["dots", "blur dots"]
    assert [each.prompt for each in made.requests] == [MATRIX.prompt] * 2
    assert [each.seed for each in made.requests] == [5, 6]
    assert made.sheets[0].margin == 10


def test_columns_of_a_matrix_are_the_first_half_of_the_parts() -> None:
    made = expand(MATRIX.replace(prompt="x|a|b|c"), "Prompt matrix")
    (sheet,) = made.sheets
    assert sheet.column_titles == ("-", "a", "b", "a + b")
    assert sheet.row_titles == ("-", "c")
    assert made.requests[7].prompt == "x, a, b, c"


def test_a_random_seed_is_drawn_once_for_a_matrix() -> None:
    made = expand(MATRIX.replace(seed=-1), "Prompt matrix")
    assert {each.seed for each in made.requests} == {FIRST_DRAWN}


def test_a_matrix_says_what_had_no_effect() -> None:
    made = expand(GenerationRequest(prompt="a house", batch_size=2, batch_count=2), "Prompt matrix")
    assert len(made.requests) == 1 and made.sheets == ()
    assert (made.requests[0].batch_size, made.requests[0].batch_count) == (1, 1)
    assert any("one image" in note for note in made.notes) and any("|" in note for note in made.notes)


def test_a_matrix_that_would_be_too_large_is_refused() -> None:
    with pytest.raises(BadRequest, match="1048576"):
        expand(GenerationRequest(prompt="|".join("x" * 21)), "Prompt matrix")


def test_every_line_is_a_prompt() -> None:
    made = expand(PLAIN, FILE, prompt_txt="a house\n\n  a tree -- at night \n").requests
    assert [(each.prompt, each.seed, each.steps) for each in made] == [("a house", 5, 7), ("a tree -- at night", 5, 7)]


# A line of options → the fields that it sets.
OPTIONS: list[tuple[str, dict[str, object]]] = [
    ("--prompt a red house --steps 30", {"prompt": "a red house", "steps": 30}),
    ('--prompt "a -- b" --negative_prompt blur, dots --seed 9',
     {"prompt": "a -- b", "negative_prompt": "blur, dots", "seed": 9}),
    ("--cfg_scale 5.5 --width 256 --height 320", {"guidance": 5.5, "width": 256, "height": 320}),
    ("--sampler_name 'DPM++ 2M Karras'", {"sampler": "DPM++ 2M", "schedule": "Karras"}),
    ("--sampler_name ddim --scheduler simple", {"sampler": "DDIM", "schedule": "Simple"}),
    ("--sampler_index 0 --batch_size 2 --n_iter 3", {"sampler": "DPM++ 2M", "batch_size": 2, "batch_count": 3}),
    ("--subseed 3 --subseed_strength 0.5", {"variation": Variation(seed=3, strength=0.5)}),
    ("--seed_resize_from_w 512 --seed_resize_from_h 0", {"variation": Variation(resize_from_width=512)}),
    ('--styles "one, two" --sd_model other', {"styles": ("one", "two"), "model": "other"}),
    ("--tiling true --restore_faces false", {"tiling": "both"}),
    ("--do_not_save_grid true --prompt_for_display x --do_not_save_samples false", {}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "fields"), OPTIONS)
def test_options_of_a_line_become_fields(line: str, fields: dict[str, object]) -> None:
    (made,) = expand(PLAIN, FILE, prompt_txt=line).requests
    changed = {name for name in GenerationRequest.model_fields if getattr(made, name) != getattr(PLAIN, name)}
    assert {name: getattr(made, name) for name in changed} == {
        name: value for name, value in fields.items() if value != getattr(PLAIN, name)
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--stps 3", "Line 2: there is no option --stps"),
        ("--steps", "Line 2: --steps has no value"),
        ("--steps many", "Line 2: --steps cannot be 'many'"),
        ("--steps 5000", "Line 2: --steps cannot be '5000'"),
        ("--steps 3 4", "Line 2: '4' belongs to no option"),
        ('--prompt "a house', "Line 2: No closing quotation"),
        ("--sampler_index 900", "Line 2: --sampler_index cannot be '900'"),
        ("--restore_faces true", "face restoration"),
        ("--outpath_samples /tmp", "folders are chosen in the settings"),
        ("--tiling perhaps", "--tiling cannot be 'perhaps'"),
    ],
)
def test_a_line_that_cannot_be_is_named(line: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        expand(PLAIN, FILE, prompt_txt=f"a house\n{line}")
    assert caught.value.hint


def test_an_unknown_sampler_of_a_line_names_what_exists() -> None:
    with pytest.raises(NotFound, match="Oiler"):
        expand(PLAIN, FILE, prompt_txt="--sampler_name Oiler")


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(BadRequest, match="empty"):
        expand(PLAIN, FILE, prompt_txt=" \n ")


@pytest.mark.parametrize(("position", "prompt"), [("start", "a house in oil"), ("end", "in oil a house")])
def test_lines_join_the_prompt_of_the_page(position: str, prompt: str) -> None:
    request = PLAIN.replace(prompt="in oil", negative_prompt="blur")
    (made,) = expand(request, FILE, prompt_txt="a house", prompt_position=position).requests
    assert (made.prompt, made.negative_prompt) == (prompt, "blur")


def test_seeds_go_on_from_line_to_line() -> None:
    request = PLAIN.replace(batch_size=2, batch_count=3)
    made = expand_args(request, FILE, True, False, "start", "a\nb\n--seed 1 --prompt c\nd").requests
    assert [each.seed for each in made] == [5, 11, 1, 23]


@pytest.mark.parametrize(("same", "seeds"), [(True, [FIRST_DRAWN] * 2), (False, [-1, -1])])
def test_random_seeds_are_the_same_for_all_lines_or_each_lines_own(same: bool, seeds: list[int]) -> None:
    made = expand(PLAIN.replace(seed=-1), FILE, prompt_txt="a\nb", checkbox_iterate_batch=same).requests
    assert [each.seed for each in made] == seeds
