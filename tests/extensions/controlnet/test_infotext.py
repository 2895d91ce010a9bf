from __future__ import annotations

import pytest

from extensions.controlnet.infotext import read_units, write_unit
from extensions.controlnet.options import ControlOptions, Unit
from webui.errors import NotFound


def read(text: str, number: int = 0) -> Unit:
    found = read_units({f"ControlNet {number}": text, "Steps": "20"})
    assert found is not None
    return ControlOptions.model_validate(found).units[number]


UNITS = [
    Unit(enabled=True),
    Unit(enabled=True, preprocessor="canny", model="control_v11p_sd15_canny", weight=0.65, start=0.1, end=0.85,
         preprocessor_options={"resolution": 640, "threshold_a": 50.0, "threshold_b": 150.0}, pixel_perfect=True,
         control_mode="prompt", resize_mode="fill", hires="high", union_type="hard_edge"),
    Unit(enabled=True, preprocessor="shuffle", preprocessor_options={"resolution": 512, "seed": 77}),
    Unit(enabled=True, preprocessor="tile_colorfix+sharp", control_mode="control", resize_mode="just_resize",
         preprocessor_options={"threshold_a": 5.0, "threshold_b": 0.25}, hires="low"),
    Unit(enabled=True, preprocessor="inpaint_only", model='odd, name: "x" (2)'),
]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.preprocessor)
def test_what_is_written_is_read(unit: Unit) -> None:
    written = write_unit(3, unit, f"{unit.model} [0123abcd]" if unit.model else None)
    assert list(written) == ["ControlNet 3"]
    again = read(written["ControlNet 3"], 3)
    defaults = unit.preprocessor_options or again.preprocessor_options
    assert again == unit.replace(preprocessor_options=defaults)


def test_units_are_written_as_others_read_them() -> None:
    unit = Unit(enabled=True, preprocessor="canny", weight=1)
    text = write_unit(0, unit, "control_v11p_sd15_canny [d14c016b]")["ControlNet 0"]
    assert text == (
        "Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 1, Resize Mode: Crop and Resize, "
        "Processor Res: 512, Threshold A: 100, Threshold B: 200, Guidance Start: 0, Guidance End: 1, "
        "Pixel Perfect: False, Control Mode: Balanced, Hr Option: Both"
    )


def test_what_others_wrote_is_read() -> None:
    unit = read(
        "Module: invert (from white bg & black line), Model: control_v11p_sd15_lineart [43d4be0d], Weight: 0.8, "
        "Resize Mode: Envelope (Outer Fit), Processor Res: -1, Threshold A: -1, Threshold B: -1, Guidance Start: 0.0, "
        "Guidance End: 0.75, Pixel Perfect: True, Control Mode: ControlNet is more important"
    )
    assert unit == Unit(
        enabled=True,
        preprocessor="invert",
        model="control_v11p_sd15_lineart",
        weight=0.8,
        end=0.75,
        pixel_perfect=True,
        control_mode="control",
        resize_mode="fill",
    )


def test_what_was_written_in_2023_is_read() -> None:
    unit = read(
        "preprocessor: canny, model: control_v11p_sd15_canny [d14c016b], weight: 1.2, starting/ending: (0.1, 0.9), "
        "resize mode: Just Resize, pixel perfect: False, control mode: Balanced, preprocessor params: (640, 40, 90)"
    )
    assert (unit.start, unit.end, unit.weight, unit.resize_mode) == (0.1, 0.9, 1.2, "just_resize")
    assert unit.preprocessor_options == {"resolution": 640, "threshold_a": 40, "threshold_b": 90}


def test_numbers_of_units_are_kept() -> None:
    found = read_units({"ControlNet 2": "Module: canny", "ControlNet 0": "Module: invert"})
    units = ControlOptions.model_validate(found).units
    assert [unit.enabled for unit in units] == [True, False, True]
    assert [unit.preprocessor for unit in units] == ["invert", "none", "canny"]


@pytest.mark.parametrize(
    "parameters",
    [{}, {"Steps": "20"}, {"ControlNet 0": ""}, {"ControlNet 0": "nothing of use"}, {"ControlNet 99": "Module: canny"},
     {"ControlNet x": "Module: canny"}, {"ControlNet 0": '"""'}, {"ControlNet 0": "Model: canny"}],
)  # fmt: skip
def test_what_says_nothing_of_units_is_not_theirs(parameters: dict[str, str]) -> None:
    assert read_units(parameters) is None


def test_values_that_cannot_be_are_left_out() -> None:
    unit = read("Module: canny, Weight: heavy, Guidance Start: 7, Control Mode: loud, Processor Res: 1e9, Model: , : ,")
    assert unit == Unit(enabled=True, preprocessor="canny")


def test_preprocessors_that_are_not_there_keep_their_name() -> None:
    assert read("Module: depth_leres++, Processor Res: 512").preprocessor == "depth_leres++"
    with pytest.raises(NotFound, match="no_such"):
        write_unit(0, Unit(preprocessor="no_such"), None)
