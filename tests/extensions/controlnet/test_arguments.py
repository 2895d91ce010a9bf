from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping
from typing import Any

import pytest
import webuiapi
from PIL import Image

from extensions.controlnet.arguments import read_arguments
from extensions.controlnet.options import ControlOptions, Unit
from webui.errors import BadFile, BadRequest, NotFound
from webui.extending.api import Tools


def encode(colour: str) -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


RED, BLUE = encode("red"), encode("blue")


def reference(text: str) -> str:
    return hashlib.sha256(base64.b64decode(text)).hexdigest()


def store(content: bytes) -> str:
    if not content.startswith(b"\x89PNG"):
        raise BadFile("The file is no image.", hint="Use a PNG.")
    return hashlib.sha256(content).hexdigest()


def unexpected(*arguments: object) -> Any:
    raise AssertionError(arguments)


TOOLS = Tools(
    draw_seed=unexpected,
    names=unexpected,
    picture_size=unexpected,
    find=unexpected,
    models=unexpected,
    store_picture=store,
    setting=unexpected,
)


def read(*units: object) -> tuple[Unit, ...]:
    return ControlOptions.model_validate(read_arguments(units, TOOLS)).units


def one(**fields: object) -> Unit:
    return read(fields)[0]


def test_a_unit_of_webuiapi_with_everything_set() -> None:
    asked = webuiapi.ControlNetUnit(
        image=Image.new("RGB", (8, 8), "red"),
        mask=Image.new("RGB", (8, 8), "blue"),
        module="canny",
        model="control_v11p_sd15_canny [d14c016b]",
        weight=0.7,
        resize_mode="Crop and Resize",
        low_vram=True,
        processor_res=768,
        threshold_a=50,
        threshold_b=150,
        guidance_start=0.1,
        guidance_end=0.9,
        control_mode=2,
        pixel_perfect=True,
        hr_option="Low res only",
    )
    unit = read(asked.to_dict())[0]
    assert unit.image is not None and unit.mask is not None and unit.image != unit.mask
    assert unit.replace(image=None, mask=None) == Unit(
        enabled=True,
        preprocessor="canny",
        model="control_v11p_sd15_canny",
        weight=0.7,
        resize_mode="crop",
        low_memory=True,
        preprocessor_options={"resolution": 768, "threshold_a": 50, "threshold_b": 150},
        start=0.1,
        end=0.9,
        control_mode="control",
        pixel_perfect=True,
        hires="low",
    )


def test_a_unit_of_webuiapi_with_nothing_set() -> None:
    unit = read(webuiapi.ControlNetUnit().to_dict())[0]
    assert unit == Unit(enabled=True, resize_mode="fill")


def test_what_is_disabled_is_not_looked_at() -> None:
    asked = webuiapi.ControlNetUnit(module="gone", enabled=False).to_dict()
    assert read(asked, None) == (Unit(), Unit())
    assert read() == ()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"image": RED}, {"image": RED}),
        ({"image": f"data:image/png;base64,{RED}"}, {"image": RED}),
        ({"input_image": RED}, {"image": RED}),
        ({"image": {"image": RED, "mask": BLUE}}, {"image": RED, "mask": BLUE}),
        ({"image": {"image": RED, "mask": None}}, {"image": RED}),
        ({"image": [RED, BLUE]}, {"image": RED, "mask": BLUE}),
        ({"image": [{"image": RED, "mask": BLUE}]}, {"image": RED, "mask": BLUE}),
        ({"image": [RED]}, {"image": RED}),
        ({"image": RED, "mask": BLUE}, {"image": RED, "mask": BLUE}),
        ({"image": RED, "mask_image": BLUE}, {"image": RED, "mask": BLUE}),
        ({"image": RED, "effective_region_mask": BLUE}, {"image": RED, "region": BLUE}),
        ({"image": ""}, {}),
        ({"image": None, "mask": None}, {}),
        ({"image": []}, {}),
    ],
)
def test_pictures_come_in_many_shapes(fields: Mapping[str, object], expected: Mapping[str, str]) -> None:
    unit = one(**fields)
    found = {name: getattr(unit, name) for name in ("image", "mask", "region") if getattr(unit, name)}
    assert found == {name: reference(text) for name, text in expected.items()}


@pytest.mark.parametrize(
    ("given", "mode"),
    [(0, "just_resize"), (1, "crop"), (2, "fill"), ("Just Resize", "just_resize"), ("Crop and Resize", "crop"),
     ("Resize and Fill", "fill"), ("Scale to Fit (Inner Fit)", "crop"), ("Inner Fit (Scale to Fit)", "crop"),
     ("Envelope (Outer Fit)", "fill"), ("Outer Fit (Shrink to Fit)", "fill"), ("fill", "fill"), (None, "crop")],
)  # fmt: skip
def test_resize_modes_are_words_or_numbers(given: object, mode: str) -> None:
    assert one(resize_mode=given).resize_mode == mode


@pytest.mark.parametrize(
    ("fields", "mode"),
    [({"control_mode": 0}, "balanced"), ({"control_mode": 1}, "prompt"), ({"control_mode": 2}, "control"),
     ({"control_mode": "My prompt is more important"}, "prompt"), ({"control_mode": "Balanced"}, "balanced"),
     ({"control_mode": "ControlNet is more important"}, "control"), ({"guessmode": True}, "control"),
     ({"guessmode": False}, "balanced"), ({"guessmode": True, "control_mode": "Balanced"}, "balanced")],
)  # fmt: skip
def test_control_modes_are_words_or_numbers(fields: Mapping[str, object], mode: str) -> None:
    assert one(**fields).control_mode == mode


def test_older_names_and_passes_of_hires() -> None:
    unit = one(lowvram=True, guidance=0.8, hr_option="High res only", union_control_type="Hard Edge")
    assert (unit.low_memory, unit.end, unit.hires, unit.union_type) == (True, 0.8, "high", "hard_edge")
    assert one(union_control_type="Unknown", hr_option="Both") == Unit(enabled=True)


@pytest.mark.parametrize(
    ("module", "numbers", "options"),
    [
        ("canny", {"processor_res": -1, "threshold_a": -1, "threshold_b": -1}, {}),
        (
            "canny",
            {"processor_res": 640.0, "threshold_a": 300, "threshold_b": 10},
            {"resolution": 640, "threshold_b": 10},
        ),
        ("tile_resample", {"processor_res": 512, "threshold_a": 64, "threshold_b": 64}, {}),  # as webuiapi sends them
        ("tile_resample", {"threshold_a": 2.5}, {"threshold_a": 2.5}),
        ("none", {"processor_res": 512, "threshold_a": 64}, {}),
        ("canny", {"processor_res": None}, {}),
    ],
)
def test_numbers_out_of_their_limits_mean_the_default(
    module: str, numbers: Mapping[str, object], options: Mapping[str, float]
) -> None:
    assert one(module=module, **numbers).preprocessor_options == options


@pytest.mark.parametrize(
    ("given", "model"),
    [("None", None), ("", None), (None, None), ("none", None), ("canny [0123abcd]", "canny"), ("a [b] c", "a [b] c"),
     ("sub/dir/canny.safetensors", "sub/dir/canny.safetensors")],
)  # fmt: skip
def test_models_lose_their_hash(given: object, model: str | None) -> None:
    assert one(model=given).model == model


def test_fields_of_other_programs_are_ignored() -> None:
    unit = one(is_ui=False, pulid_mode="Fidelity", inpaint_crop_input_image=True, image_similarity=3, batch_images="",
               advanced_weighting=None, save_detected_map=True, ipadapter_input=None, loopback=False)  # fmt: skip
    assert unit == Unit(enabled=True)


@pytest.mark.parametrize(
    ("fields", "place", "message"),
    [
        ({"weight": 3}, "weight", "less than or equal to 2"),
        ({"weight": "heavy"}, "weight", "valid number"),
        ({"weight": float("nan")}, "weight", "finite"),
        ({"guidance_start": 0.9, "guidance_end": 0.1}, "", "lies after"),
        ({"guidance_end": -1}, "end", "greater than or equal to 0"),
        ({"resize_mode": 7}, "resize_mode", "cannot be 7"),
        ({"resize_mode": True}, "resize_mode", "cannot be True"),
        ({"control_mode": "strict"}, "control_mode", "My prompt is more important"),
        ({"hr_option": "Neither"}, "hr_option", "Low res only"),
        ({"image": "/etc/passwd"}, "image", "not base64"),
        ({"image": "http://127.0.0.1/cat.png"}, "image", "not base64"),
        ({"image": base64.b64encode(b"GIF").decode()}, "image", "no image"),
        ({"image": 5}, "image", "not int"),
        ({"image": [RED, BLUE, RED]}, "image", "one picture, not 3"),
        ({"image": [{"image": RED}, {"image": BLUE}]}, "image", "one picture, not 2"),
        ({"image": RED, "input_image": BLUE}, "image", "given twice"),
        ({"mask": {"a": 1}}, "mask", "not dict"),
        ({"module": "canny", "threshold_a": "much"}, "threshold_a", "must be a number"),
        ({"module": "canny", "processor_res": True}, "resolution", "must be a number"),
        ({"advanced_weighting": [1.0] * 13}, "advanced_weighting", "not there"),
        ({"ipadapter_input": ["gAJ9"]}, "ipadapter_input", "runs code"),
        ({"loopback": True}, "loopback", "Loopback"),
        ({"pixel_perfect": "perhaps"}, "pixel_perfect", "valid boolean"),
    ],
)
def test_what_cannot_be_is_refused_at_its_field(fields: Mapping[str, object], place: str, message: str) -> None:
    with pytest.raises(BadRequest, match=message) as caught:
        read({}, fields)
    assert caught.value.field == "extensions.controlnet.units.1" + (f".{place}" if place else "")
    assert "unit 1" in str(caught.value)


def test_unknown_modules_are_named_with_what_does_the_like() -> None:
    with pytest.raises(NotFound, match=r"'mlsd'.*hough") as caught:
        one(module="mlsd")
    assert caught.value.field == "extensions.controlnet.units.0.preprocessor"


def test_units_are_objects_and_ten_at_most() -> None:
    with pytest.raises(BadRequest, match="must be an object"):
        read(False)
    with pytest.raises(BadRequest, match="got 11 units"):
        read(*[{}] * 11)
