"""Loopback, SD upscale and outpainting: scripts that begin with a picture."""

from __future__ import annotations

import pytest

from tests.extensions.parts import FIRST_DRAWN, MASKED, PICTURE, expand, expand_args
from webui.domain.request import GenerationRequest
from webui.domain.start import FromExtendedImage, FromImage, FromMaskedImage, FromTiles
from webui.errors import BadRequest

FROM_PICTURE = GenerationRequest(prompt="a house", seed=5, batch_size=2, batch_count=3, start=PICTURE)
BACKED = FROM_PICTURE.replace(start=PICTURE.replace(background="#102030"))
SCRIPTS = ("Loopback", "SD upscale", "Poor man's outpainting", "Outpainting mk2")


@pytest.mark.parametrize("script", SCRIPTS)
def test_they_refuse_to_begin_with_noise(script: str) -> None:
    with pytest.raises(BadRequest, match="use img2img"):
        expand(GenerationRequest(), script)


@pytest.mark.parametrize("script", SCRIPTS[1:])
def test_those_that_change_the_size_refuse_a_mask(script: str) -> None:
    with pytest.raises(BadRequest, match="whole picture"):
        expand(FROM_PICTURE.replace(start=MASKED), script)


@pytest.mark.parametrize(
    ("curve", "strengths"),
    [
        ("Linear", [0.75, 0.65, 0.55, 0.45]),
        ("Aggressive", [0.75, 0.6, 0.49, 0.45]),
        ("Lazy", [0.75, 0.71, 0.6, 0.45]),
    ],
)
def test_the_strength_goes_its_way_from_loop_to_loop(curve: str, strengths: list[float]) -> None:
    made = expand_args(FROM_PICTURE.replace(batch_size=1, batch_count=1), "loopback", 4, 0.45, curve, "None")
    assert made.chained
    assert [
        round(start.strength, 2) for each in made.requests if isinstance(start := each.start, FromImage)
    ] == strengths
    assert [each.seed for each in made.requests] == [5, 6, 7, 8]


def test_every_picture_has_its_row_of_loops() -> None:
    made = expand(FROM_PICTURE.replace(batch_size=1, batch_count=2), "Loopback", loops=3)
    (sheet,) = made.sheets
    assert (sheet.columns, sheet.cells) == (3, (0, 2, 4, 1, 3, 5))
    assert sheet.column_titles == ("Denoising: 0.75", "Denoising: 0.62", "Denoising: 0.5")
    assert [each.seed for each in made.requests] == [5, 7, 9]


def test_what_was_painted_under_a_mask_is_kept_in_the_next_loops() -> None:
    made = expand(FROM_PICTURE.replace(start=MASKED, seed=-1), "Loopback", loops=3)
    contents = [each.start.content for each in made.requests if isinstance(each.start, FromMaskedImage)]
    assert contents == ["latent_noise", "original", "original"]
    assert made.requests[0].seed == FIRST_DRAWN


def test_one_loop_is_a_usual_job() -> None:
    made = expand(FROM_PICTURE, "Loopback", loops=1, final_denoising_strength=0.1)
    assert [each.start for each in made.requests] == [PICTURE]
    assert made.sheets == ()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([4, 0.5, "Linear", "CLIP"], "append_interrogation"),
        ([4, 0.5, "Round", "None"], "denoising_curve"),
        ([33, 0.5], "loops"),
    ],
)
def test_loopback_refuses_what_it_cannot_do(args: list[object], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        expand_args(FROM_PICTURE, "Loopback", *args)


def test_too_many_loops_of_too_many_images_are_refused() -> None:
    with pytest.raises(BadRequest, match="32 loops of 64 images"):
        expand(FROM_PICTURE.replace(batch_size=64, batch_count=1), "Loopback", loops=32)


@pytest.mark.parametrize(
    ("args", "tiles"),
    [
        ([None, 64, 3, 2], {"upscaler": "R-ESRGAN", "factor": 2.0, "overlap": 64}),
        ([None, 128, "Lanczos", 3], {"upscaler": "Lanczos", "factor": 3.0, "overlap": 128}),
        (["", 64, 0, 4], {"upscaler": "None", "factor": 1.0, "overlap": 64}),
        ([], {"upscaler": "Lanczos", "factor": 2.0, "overlap": 64}),
    ],
)
def test_sd_upscale_by_its_arguments(args: list[object], tiles: dict[str, object]) -> None:
    (made,) = expand_args(BACKED, "SD upscale", *args).requests
    assert made.start == FromTiles.model_validate(
        {"images": PICTURE.images, "strength": 0.75, "background": "#102030", **tiles}
    )
    assert (made.batch_size, made.batch_count) == (1, 3)


@pytest.mark.parametrize(
    ("args", "words"),
    [([None, 64, 9, 2], "no upscaler number 9"), ([None, 60], "overlap"), ([None, 64, 1, 0.5], "scale_factor")],
)
def test_sd_upscale_refuses_what_cannot_be(args: list[object], words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        expand_args(FROM_PICTURE, "sd_upscale.py", *args)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("script", "args", "fields"),
    [
        ("poor man's outpainting", [], {"left": 128, "right": 128, "up": 128, "down": 128, "overlap": 8}),
        ("poor man's outpainting", [64, 8, 2, ["up"]], {"up": 64, "overlap": 16, "content": "latent_noise"}),
        ("poor man's outpainting", [64, 0, "latent nothing", ["left", "down"]],
         {"left": 64, "down": 64, "overlap": 0, "content": "latent_nothing"}),
        ("outpainting mk2", [], {"left": 128, "right": 128, "up": 128, "down": 128, "overlap": 16}),
        ("outpainting mk2", [None, 256, 64, ["right"], 1.0, 0.05], {"right": 256, "overlap": 128}),
    ],
)  # fmt: skip
def test_outpainting_by_its_arguments(script: str, args: list[object], fields: dict[str, object]) -> None:
    expansion = expand_args(BACKED, script, *args)
    (made,) = expansion.requests
    assert made.start == FromExtendedImage.model_validate(
        {"images": PICTURE.images, "strength": 0.75, "background": "#102030", **fields}
    )
    assert expansion.notes == ()


def test_what_outpainting_does_otherwise_is_said() -> None:
    (note,) = expand(FROM_PICTURE, "Outpainting mk2", noise_q=2.0).notes
    assert "no effect" in note


@pytest.mark.parametrize(
    ("script", "args", "words"),
    [
        ("poor man's outpainting", [100], "pixels"),
        ("poor man's outpainting", [64, 4, 7], "inpainting_fill"),
        ("poor man's outpainting", [64, 4, 0, []], "direction"),
        ("outpainting mk2", [None, 64, 8, ["north"]], "direction"),
    ],
)
def test_outpainting_refuses_what_cannot_be(script: str, args: list[object], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        expand_args(FROM_PICTURE, script, *args)
