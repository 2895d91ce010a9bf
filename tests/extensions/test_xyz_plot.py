"""X/Y/Z plot: every axis changes what it says, cells are where they belong, arguments mean what A1111 means."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from extensions.xyz_plot.axes import AXES, find_axis
from tests.extensions.parts import FIRST_DRAWN, MASKED, PICTURE, expand, expand_args
from webui.domain.passes import Hires, Refiner
from webui.domain.request import GenerationRequest
from webui.domain.sampling_options import MAX_SEED, Variation
from webui.errors import BadRequest, NotFound
from webui.settings import ALIASES

PLAIN = GenerationRequest(prompt="a red house", negative_prompt="red dots", seed=5)
HIRES = PLAIN.replace(hires=Hires(), refiner=Refiner(model="r"))
FROM_PICTURE = PLAIN.replace(start=PICTURE)

# Axis, value as typed, the request it is for, what is read from the request of the cell, and what is expected.
CHANGES: list[tuple[str, str, GenerationRequest, Callable[[GenerationRequest], object], object]] = [
    ("Seed", "7", PLAIN, lambda made: made.seed, 7),
    ("Var. seed", "7", PLAIN, lambda made: made.variation, Variation(seed=7)),
    ("Var. strength", "0.5", PLAIN.replace(variation=Variation(seed=3)), lambda made: made.variation,
     Variation(seed=3, strength=0.5)),
    ("Steps", "30", PLAIN, lambda made: made.steps, 30),
    ("Hires steps", "8", HIRES, lambda made: made.hires and made.hires.steps, 8),
    ("Hires steps", "0", HIRES, lambda made: made.hires and made.hires.steps, None),
    ("CFG Scale", "5.5", PLAIN, lambda made: made.guidance, 5.5),
    ("Prompt S/R", "red", PLAIN, lambda made: (made.prompt, made.negative_prompt), ("a red house", "red dots")),
    ("Prompt order", "red", PLAIN, lambda made: made.prompt, "a red house"),
    ("Sampler", "euler A", PLAIN, lambda made: (made.sampler, made.schedule), ("Euler a", None)),
    ("Sampler", "DPM++ 2M Karras", PLAIN, lambda made: (made.sampler, made.schedule), ("DPM++ 2M", "Karras")),
    ("Sampler", "DDIM", FROM_PICTURE, lambda made: made.sampler, "DDIM"),
    ("Hires sampler", "heun", HIRES, lambda made: made.hires and made.hires.sampler, "Heun"),
    ("Checkpoint name", "some/model", PLAIN, lambda made: made.model, "some/model"),
    ("Negative Guidance minimum sigma", "1.5", PLAIN, lambda made: made.guiding.minimum, 1.5),
    ("Sigma Churn", "2", PLAIN, lambda made: made.sampling.churn, 2.0),
    ("Sigma min", "0.5", PLAIN, lambda made: made.sampling.tmin, 0.5),
    ("Sigma max", "50", PLAIN, lambda made: made.sampling.tmax, 50.0),
    ("Sigma noise", "1.01", PLAIN, lambda made: made.sampling.noise, 1.01),
    ("Schedule type", "karras", PLAIN, lambda made: made.schedule, "Karras"),
    ("Schedule min sigma", "0.1", PLAIN, lambda made: made.sampling.sigma_min, 0.1),
    ("Schedule max sigma", "12", PLAIN, lambda made: made.sampling.sigma_max, 12.0),
    ("Schedule rho", "5", PLAIN, lambda made: made.sampling.rho, 5.0),
    ("Eta", "0.5", PLAIN, lambda made: made.sampling.eta, 0.5),
    ("Clip skip", "2", PLAIN, lambda made: made.clip_skip, 2),
    ("Denoising", "0.4", HIRES, lambda made: made.hires and made.hires.strength, 0.4),
    ("Denoising", "0.4", FROM_PICTURE, lambda made: made.start, PICTURE.replace(strength=0.4)),
    ("Denoising", "0.4", PLAIN.replace(start=MASKED), lambda made: made.start, MASKED.replace(strength=0.4)),
    ("Hires upscaler", "Lanczos", HIRES, lambda made: made.hires and made.hires.upscaler, "Lanczos"),
    ("VAE", "None", PLAIN, lambda made: made.vae, "None"),
    ("Styles", '"one, two"', PLAIN.replace(styles=("zero",)), lambda made: made.styles, ("zero", "one", "two")),
    ("Styles", "None", PLAIN, lambda made: made.styles, ()),
    ("Always discard next-to-last sigma", "True", PLAIN, lambda made: made.sampling.discard_penultimate, True),
    ("Always discard next-to-last sigma", "false", PLAIN, lambda made: made.sampling.discard_penultimate, False),
    ("Refiner checkpoint", "other", HIRES, lambda made: made.refiner, Refiner(model="other")),
    ("Refiner checkpoint", "other", PLAIN, lambda made: made.refiner, Refiner(model="other")),
    ("Refiner checkpoint", "None", HIRES, lambda made: made.refiner, None),
    ("Refiner switch at", "0.6", HIRES, lambda made: made.refiner and made.refiner.switch_at, 0.6),
    ("RNG source", "NV", PLAIN, lambda made: made.sampling.noise_source, "NV"),
    ("Size", "768x512", PLAIN, lambda made: (made.width, made.height), (768, 512)),
]  # fmt: skip


@pytest.mark.parametrize(("axis", "value", "request_", "read", "expected"), CHANGES)
def test_an_axis_changes_what_it_says(
    axis: str,
    value: str,
    request_: GenerationRequest,
    read: Callable[[GenerationRequest], object],
    expected: object,
) -> None:
    (made,) = expand(request_, "X/Y/Z plot", x_type=axis, x_values=value).requests
    assert read(made) == expected


SETTINGS = [
    ("Initial noise multiplier", "initial_noise_multiplier"),
    ("Extra noise", "img2img_extra_noise"),
    ("Cond. Image Mask Weight", "inpainting_mask_weight"),
]


@pytest.mark.parametrize(("axis", "option"), SETTINGS)
def test_an_axis_may_change_a_setting_for_its_cell_alone(axis: str, option: str) -> None:
    made = expand(FROM_PICTURE, "X/Y/Z plot", x_type=axis, x_values="0.25, 0.5", y_type="Steps", y_values="1,2")
    assert made.settings == ({option: 0.25}, {option: 0.5}) * 2
    assert option in ALIASES.values()
    assert all(each.replace(steps=None) == FROM_PICTURE for each in made.requests)


def test_every_axis_that_can_be_used_is_tested() -> None:
    tested = {change[0] for change in CHANGES} | {label for label, _ in SETTINGS}
    assert tested == {axis.label for axis in AXES if not axis.missing} - {"Nothing"}


@pytest.mark.parametrize("axis", [axis for axis in AXES if axis.missing], ids=lambda axis: axis.label)
def test_what_cannot_be_used_says_why_and_what_can(axis: object) -> None:
    assert isinstance(axis, type(AXES[0]))
    request = FROM_PICTURE if axis.page == "img2img" else PLAIN
    with pytest.raises(BadRequest) as caught:
        expand(request, "X/Y/Z plot", x_type=axis.label, x_values="1")
    assert axis.missing in caught.value.message
    assert "Steps" in caught.value.hint and axis.label not in caught.value.hint.split(", ")


@pytest.mark.parametrize("axis", ["Stepps", 400, -1])
def test_an_unknown_axis_names_what_exists(axis: int | str) -> None:
    with pytest.raises(BadRequest, match=str(axis)) as caught:
        expand(PLAIN, "X/Y/Z plot", x_type=axis, x_values="1")
    assert "CFG Scale" in caught.value.hint


def test_axes_of_the_other_page_are_unknown() -> None:
    with pytest.raises(BadRequest, match="Hires steps"):
        expand(FROM_PICTURE, "X/Y/Z plot", x_type="Hires steps", x_values="1")


# Numbers that people's scripts use; they are positions in A1111's lists, which differ between the pages.
@pytest.mark.parametrize(
    ("page", "number", "label"),
    [
        ("txt2img", 0, "Nothing"),
        ("txt2img", 1, "Seed"),
        ("txt2img", 4, "Steps"),
        ("txt2img", 6, "CFG Scale"),
        ("txt2img", 7, "Prompt S/R"),
        ("txt2img", 9, "Sampler"),
        ("txt2img", 10, "Hires sampler"),
        ("txt2img", 11, "Checkpoint name"),
        ("img2img", 4, "Steps"),
        ("img2img", 5, "CFG Scale"),
        ("img2img", 9, "Sampler"),
        ("img2img", 10, "Checkpoint name"),
    ],
)
def test_axes_have_the_numbers_of_a1111(page: str, number: int, label: str) -> None:
    assert find_axis(number, "img2img" if page == "img2img" else "txt2img").label == label


@pytest.mark.parametrize(
    ("axis", "request_", "words"),
    [
        ("Hires steps", PLAIN, "hires fix is off"),
        ("Denoising", PLAIN, "hires fix is off"),
        ("Refiner switch at", PLAIN, "no refiner"),
    ],
)
def test_an_axis_without_effect_is_refused(axis: str, request_: GenerationRequest, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        expand(request_, "X/Y/Z plot", x_type=axis, x_values="0.5" if axis != "Hires steps" else "5")


@pytest.mark.parametrize(
    ("axis", "value", "words"),
    [
        ("Steps", "", "no values"),
        ("Steps", "ten", "'ten'"),
        ("Steps", "5000", "steps: .*5000"),
        ("Prompt S/R", "blue, green", "'blue'"),
        ("Prompt order", "red, blue", "'blue'"),
        ("Always discard next-to-last sigma", "maybe", "'maybe'"),
        ("Size", "large", "'large'"),
        ("Size", "500x500", "500"),
        ("RNG source", "TPU", "TPU"),
        ("Steps", "1-100, 1-100, 1-100, 1-100, 1-100, 1-100, 1-100, 1-100, 1-100, 1-100, 1-100", "1100"),
    ],
)
def test_values_that_cannot_be_are_named(axis: str, value: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        expand(PLAIN, "X/Y/Z plot", x_type=axis, x_values=value)
    assert caught.value.hint


def test_values_that_cannot_be_read_are_told_at_their_field() -> None:
    with pytest.raises(BadRequest) as caught:
        expand(PLAIN, "X/Y/Z plot", x_type="Steps", x_values="4", y_type="CFG Scale", y_values="much")
    assert caught.value.field == "script.options.y_values"


def test_an_unknown_sampler_names_what_exists() -> None:
    with pytest.raises(NotFound, match="Oiler") as caught:
        expand(PLAIN, "X/Y/Z plot", x_type="Sampler", x_values="Oiler")
    assert "Euler a" in caught.value.hint


def test_prompt_search_and_replace_begins_with_the_text_itself() -> None:
    made = expand(PLAIN, "X/Y/Z plot", x_type="Prompt S/R", x_values='red, blue, "pale, green"').requests
    assert [each.prompt for each in made] == ["a red house", "a blue house", "a pale, green house"]
    assert [each.negative_prompt for each in made] == ["red dots", "blue dots", "pale, green dots"]


def test_prompt_order_puts_the_words_into_each_others_places() -> None:
    request = PLAIN.replace(prompt="a cat, then a dog, near a tree")
    made = expand(request, "X/Y/Z plot", x_type="Prompt order", x_values="dog, cat").requests
    assert {each.prompt for each in made} == {"a dog, then a cat, near a tree", "a cat, then a dog, near a tree"}


def test_cells_are_where_their_titles_say() -> None:
    made = expand(
        PLAIN, "X/Y/Z plot", x_type="Sampler", x_values="Euler, DDIM, LMS", y_type="Steps", y_values="10, 20",
        margin_size=4,
    )  # fmt: skip
    (sheet,) = made.sheets
    assert sheet.column_titles == ("Euler", "DDIM", "LMS")
    assert sheet.row_titles == ("Steps: 10", "Steps: 20")
    assert (sheet.columns, sheet.margin, sheet.title, sheet.group_titles) == (3, 4, "", ())
    shown = [made.requests[cell] for cell in sheet.cells if cell is not None]
    assert [(each.sampler, each.steps) for each in shown] == [
        ("Euler", 10), ("DDIM", 10), ("LMS", 10), ("Euler", 20), ("DDIM", 20), ("LMS", 20),
    ]  # fmt: skip
    assert {each.seed for each in made.requests} == {5}
    assert made.only_sheets and not made.chained


def test_the_values_of_z_stand_side_by_side_and_on_sheets_of_their_own() -> None:
    made = expand(
        PLAIN, "X/Y/Z plot", x_type="Steps", x_values="1,2", y_type="Seed", y_values="8,9", z_type="CFG Scale",
        z_values="3,4", include_sub_grids=True, include_lone_images=True,
    )  # fmt: skip
    together, first, second = made.sheets
    assert together.group_titles == ("CFG Scale: 3.0", "CFG Scale: 4.0")
    assert together.column_titles == ("Steps: 1", "Steps: 2") * 2
    assert (first.title, second.title) == ("CFG Scale: 3.0", "CFG Scale: 4.0")
    rows = [[made.requests[cell] for cell in together.cells[start : start + 4] if cell is not None] for start in (0, 4)]
    assert [[(each.seed, each.guidance, each.steps) for each in row] for row in rows] == [
        [(8, 3, 1), (8, 3, 2), (8, 4, 1), (8, 4, 2)], [(9, 3, 1), (9, 3, 2), (9, 4, 1), (9, 4, 2)],
    ]  # fmt: skip
    assert [made.requests[cell].guidance for cell in second.cells if cell is not None] == [4.0] * 4
    assert not made.only_sheets


def test_what_is_slow_to_change_is_changed_least_often() -> None:
    made = expand(
        PLAIN, "X/Y/Z plot", x_type="Checkpoint name", x_values="a, b", y_type="Steps", y_values="1,2,3"
    )  # fmt: skip
    assert [each.model for each in made.requests] == ["a", "a", "a", "b", "b", "b"]
    (sheet,) = made.sheets
    assert [made.requests[cell].model for cell in sheet.cells if cell is not None] == ["a", "b"] * 3


def test_the_images_of_one_cell_stand_together() -> None:
    request = PLAIN.replace(batch_size=3)
    made = expand(request, "X/Y/Z plot", x_type="Steps", x_values="1,2", y_type="Seed", y_values="8,9")
    (sheet,) = made.sheets
    assert sheet.columns == 4
    assert sheet.cells == (0, 1, 3, 4, 2, None, 5, None, 6, 7, 9, 10, 8, None, 11, None)
    assert sheet.column_titles == ("Steps: 1", "Steps: 2")


def test_a_refiner_is_chosen_before_it_is_told_when_to_take_over() -> None:
    made = expand(
        PLAIN, "X/Y/Z plot", x_type="Refiner switch at", x_values="0.5", y_type="Refiner checkpoint",
        y_values="None, other",
    )  # fmt: skip
    assert [each.refiner for each in made.requests] == [None, Refiner(model="other", switch_at=0.5)]


def test_random_seeds_are_drawn_once_for_all_cells() -> None:
    request = PLAIN.replace(seed=-1, variation=Variation(strength=0.1))
    made = expand(request, "X/Y/Z plot", x_type="Steps", x_values="1,2").requests
    assert len({each.seed for each in made}) == 1 and made[0].seed >= FIRST_DRAWN
    assert len({each.variation for each in made}) == 1 and made[0].variation and made[0].variation.seed >= FIRST_DRAWN


def test_random_seeds_on_an_axis_are_drawn_for_each_value_and_told() -> None:
    made = expand(PLAIN, "X/Y/Z plot", x_type="Seed", x_values="-1, 3, -1")
    seeds = [each.seed for each in made.requests]
    assert seeds[1] == 3 and len(set(seeds)) == 3 and min(seeds) >= 0
    assert made.sheets[0].facts["Fixed X Values"] == ", ".join(map(str, seeds))
    assert made.sheets[0].facts["X Values"] == "-1, 3, -1"


def test_random_seeds_stay_so_if_that_is_wanted() -> None:
    request = PLAIN.replace(seed=-1)
    made = expand(request, "X/Y/Z plot", x_type="Steps", x_values="1,2", no_fixed_seeds=True, vary_seeds_x=True)
    assert [each.seed for each in made.requests] == [-1, -1]


def test_seeds_count_up_along_the_axes_that_vary_them() -> None:
    axes = {"x_type": "Steps", "x_values": "1,2,3", "y_type": "CFG Scale", "y_values": "1,2"}
    columns = expand(PLAIN, "X/Y/Z plot", **axes, vary_seeds_x=True).requests
    assert [each.seed for each in columns] == [5, 6, 7, 5, 6, 7]
    both = expand(PLAIN, "X/Y/Z plot", **axes, vary_seeds_x=True, vary_seeds_y=True).requests
    assert [each.seed for each in both] == [5, 6, 7, 8, 9, 10]
    last = expand(PLAIN.replace(seed=MAX_SEED), "X/Y/Z plot", **axes, vary_seeds_y=True).requests
    assert [each.seed for each in last] == [MAX_SEED] * 3 + [0] * 3


def test_without_a_legend_there_are_no_titles() -> None:
    (sheet,) = expand(PLAIN, "X/Y/Z plot", x_type="Steps", x_values="1,2", draw_legend=False).sheets
    assert (sheet.column_titles, sheet.row_titles, sheet.title) == ((), (), "")


def test_too_many_cells_are_refused_before_they_are_made() -> None:
    many = {"x_type": "Steps", "x_values": "1-100", "y_type": "Seed", "y_values": "1-100", "z_type": "CFG Scale"}
    with pytest.raises(BadRequest, match="1000000 images"):
        expand(PLAIN, "X/Y/Z plot", **many, z_values="0-99")


def test_arguments_by_position_as_people_send_them() -> None:
    args = [
        4,
        "20,30",
        [],
        9,
        "",
        ["Euler", "DDIM"],
        0,
        "",
        [],
        True,
        False,
        False,
        False,
        False,
        False,
        False,
        0,
        False,
    ]
    made = expand_args(PLAIN, "x/y/z plot", *args)
    assert [(each.sampler, each.steps) for each in made.requests] == [
        ("Euler", 20), ("Euler", 30), ("DDIM", 20), ("DDIM", 30),
    ]  # fmt: skip
    assert made.sheets[0].facts == {
        "X Type": "Steps",
        "X Values": "20,30",
        "Y Type": "Sampler",
        "Y Values": "Euler,DDIM",
    }


@pytest.mark.parametrize("chosen", ["", None, [], "DDIM"])
def test_choices_may_come_as_a_text_or_not_at_all(chosen: object) -> None:
    made = expand_args(PLAIN, "xyz_grid.py", 9, "Euler", chosen)
    assert [each.sampler for each in made.requests] == ["DDIM" if chosen == "DDIM" else "Euler"]


def test_with_text_inputs_the_text_counts() -> None:
    made = expand(PLAIN, "X/Y/Z plot", x_type="Sampler", x_values="Euler", x_values_dropdown=["DDIM"], csv_mode=True)
    assert made.requests[0].sampler == "Euler"


def test_a_wrong_argument_is_named() -> None:
    with pytest.raises(BadRequest, match=r"script_args\[9\] of X/Y/Z plot: draw_legend"):
        expand_args(PLAIN, "X/Y/Z plot", 4, "1", [], 0, "", [], 0, "", [], "perhaps")
