"""A1111's scripts as programs call them: by name, with arguments by position, through webuiapi and a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import webuiapi
from PIL import Image

from tests.api.site import Site, open_site, serve

XYZ = "X/Y/Z plot"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, str]]:
    folder = tmp_path_factory.mktemp("served")
    with open_site(folder, models=("tiny", "other")) as site, serve(site.app) as url:
        yield site, url


@pytest.fixture
def api(served: tuple[Site, str]) -> Any:
    return webuiapi.WebUIApi(baseurl=f"{served[1]}/sdapi/v1")


def small(api: Any, script: str, *args: object, **fields: Any) -> Any:
    return api.txt2img(
        **{"prompt": "a red circle", "width": 64, "height": 64, "steps": 2, "seed": 7, **fields},
        script_name=script,
        script_args=list(args),
    )


def test_both_pages_list_their_scripts(api: Any) -> None:
    scripts = api.get_scripts()
    assert {"x/y/z plot", "prompt matrix", "prompts from file or textbox"} <= set(scripts["txt2img"])
    assert "loopback" not in scripts["txt2img"]
    assert {"x/y/z plot", "loopback", "sd upscale", "outpainting mk2"} <= set(scripts["img2img"])


def test_script_info_describes_the_arguments_in_their_order(served: tuple[Site, str]) -> None:
    info = {each["name"]: each for each in served[0].client.get("/sdapi/v1/script-info").json()}
    arguments = info["x/y/z plot"]["args"]
    assert [argument["label"] for argument in arguments[:4]] == ["X type", "X values", "X values", "Y type"]
    assert "Steps" in arguments[0]["choices"] and "Face restore" not in arguments[0]["choices"]
    assert arguments[9] == {
        "label": "Draw legend", "value": True, "minimum": None, "maximum": None, "step": None, "choices": None,
    }  # fmt: skip
    factor = info["sd upscale"]["args"][3]
    assert (factor["minimum"], factor["maximum"], factor["step"], factor["value"]) == (1, 4, 0.05, 2.0)
    assert info["sd upscale"]["args"][2]["choices"][:3] == ["None", "Lanczos", "Nearest"]


def test_a_plot_of_samplers_and_steps_is_one_sheet(api: Any) -> None:
    result = small(api, XYZ, 9, "", ["Euler", "DDIM"], 4, "2-4", [])
    (sheet,) = result.images
    assert sheet.width > 2 * 64 and sheet.height > 3 * 64
    (text,) = result.info["infotexts"]
    assert text.endswith('Script: X/Y/Z plot, X Type: Sampler, X Values: "Euler,DDIM", Y Type: Steps, Y Values: 2-4')
    assert sheet.text["parameters"] == text
    assert result.info["all_seeds"] == [7] * 6


def test_lone_images_follow_the_sheets(api: Any) -> None:
    result = small(api, XYZ, 4, "2,3", [], 1, "7,8", [], 6, "5,6", [], True, True, True)
    assert result.info["index_of_first_image"] == 3
    assert len(result.images) == 3 + 8
    assert [image.size for image in result.images[3:]] == [(64, 64)] * 8
    first, *_, last = result.info["infotexts"][3:]
    assert first.startswith("a red circle\nSteps: 2, ") and "CFG scale: 5" in first and "Seed: 7" in first
    assert "Steps: 3, " in last and "CFG scale: 6" in last and "Seed: 8" in last


def test_a_matrix_begins_with_its_sheet(api: Any) -> None:
    result = small(api, "Prompt matrix", False, False, "positive", "comma", 0, prompt="a circle|red|blue")
    assert len(result.images) == 5
    prompts = [text.partition("\n")[0] for text in result.info["infotexts"][1:]]
    assert prompts == ["a circle", "a circle, red", "a circle, blue", "a circle, red, blue"]


def test_every_line_makes_its_own_images(api: Any) -> None:
    lines = "a circle\n--prompt a square --steps 3 --seed 9 --batch_size 2"
    result = small(api, "prompts from file or textbox", False, False, "start", lines, prompt="")
    assert len(result.images) == 3
    assert result.info["all_seeds"] == [7, 9, 10]
    assert "Steps: 3" in result.info["infotexts"][2]


def test_loopback_goes_on_from_picture_to_picture(api: Any) -> None:
    result = api.img2img(
        images=[Image.new("RGB", (64, 64), "red")], width=64, height=64, steps=2, seed=7, denoising_strength=0.8,
        script_name="Loopback", script_args=[3, 0.4, "Linear", "None"],
    )  # fmt: skip
    assert len(result.images) == 1 + 3
    strengths = [text.partition("Denoising strength: ")[2].partition(",")[0] for text in result.info["infotexts"][1:]]
    assert [float(strength) for strength in strengths] == pytest.approx([0.8, 0.6, 0.4])


@pytest.mark.parametrize(
    ("script", "args", "words"),
    [
        ("no such script", [], "no such script"),
        (XYZ, [4, "ten"], "'ten'"),
        (XYZ, ["Stepps", "1"], "Stepps"),
        (XYZ, [4, "1", [], 0, "", [], 0, "", [], "perhaps"], "draw_legend"),
        (XYZ, [9, "", ["Oiler"]], "Oiler"),
        ("loopback", [], "img2img"),
    ],
)
def test_what_cannot_be_is_refused_with_words(api: Any, script: str, args: list[object], words: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        small(api, script, *args)
    status, text = caught.value.args
    assert status in (404, 422)
    assert words in text


def test_the_images_of_a_plot_are_on_the_disk_and_its_sheet_among_the_grids(api: Any, served: tuple[Site, str]) -> None:
    small(api, XYZ, 4, "2,3", save_images=True, seed=4711)
    outputs = served[0].config.outputs_dir
    images = [path for path in outputs.glob("txt2img-images/**/*.png") if "4711" in path.name]
    grids = list(outputs.glob("txt2img-grids/**/*.png"))
    assert len(images) == 2
    assert len(grids) == 1


@pytest.mark.parametrize(
    ("script", "args", "size"),
    [
        ("SD upscale", [None, 64, 1, 2], (256, 256)),
        ("SD upscale", [None, 64, 0, 2], (128, 128)),
        ("Outpainting mk2", [None, 64, 4, ["left", "down"], 1.0, 0.05], (192, 192)),
        ("Poor man's outpainting", [64, 4, 0, ["right"]], (192, 128)),
    ],
)
def test_scripts_that_enlarge_a_picture_give_it_its_new_size(
    api: Any, script: str, args: list[object], size: tuple[int, int]
) -> None:
    result = api.img2img(
        images=[Image.new("RGB", (128, 128), "red")], width=128, height=128, steps=2, script_name=script,
        script_args=args,
    )  # fmt: skip
    (picture,) = result.images
    assert picture.size == size
