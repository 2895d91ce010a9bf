"""The routes of sd-webui-controlnet's API, alone and asked by its real client."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import webuiapi
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image, ImageDraw

from extensions.controlnet.infotext import read_units
from extensions.controlnet.preprocessors.catalog import PREPROCESSORS
from extensions.controlnet.routes import IP_ADAPTER_MODULES, ROUTES
from tests.serving import POCKET, RunningServer, run_server
from webui.domain.models import Kind, ModelInfo
from webui.domain.request import PreprocessRequest
from webui.errors import BadRequest, NotFound
from webui.extending.api import Call, Tools

SHA = "0123abcd" * 8


def disc() -> Image.Image:
    picture = Image.new("RGB", (128, 96), "white")
    ImageDraw.Draw(picture).ellipse((40, 20, 90, 70), fill="black")
    return picture


def encode(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def model(name: str, kind: Kind = Kind.CONTROLNET, sha256: str | None = None, problem: str | None = None) -> ModelInfo:
    return ModelInfo(name=name, path=Path(f"/m/{name}.safetensors"), kind=kind, sha256=sha256, problem=problem)


class House:
    """Answers routes as the server does, and remembers what it was asked to run."""

    def __init__(self, *models: ModelInfo) -> None:
        self.models = models
        self.stored: dict[str, bytes] = {}
        self.ran: list[PreprocessRequest] = []

    def store(self, content: bytes) -> str:
        reference = hashlib.sha256(content).hexdigest()
        self.stored[reference] = content
        return reference

    def run(self, request: Any) -> tuple[bytes, ...]:
        self.ran.append(request)
        return (self.stored[request.image],)

    def ask(self, path: str, body: object = None, **query: str) -> Any:
        def refuse(*arguments: object) -> Any:
            raise AssertionError(arguments)

        tools = Tools(
            draw_seed=refuse,
            names=refuse,
            picture_size=refuse,
            find=refuse,
            models=lambda kind: self.models if kind is Kind.CONTROLNET else (),
            store_picture=self.store,
            setting=refuse,
        )
        (route,) = (route for route in ROUTES if route.path == f"/controlnet/{path}")
        return route.answer(Call(query=query, body=body, tools=tools, run=self.run))


HOUSE = House(
    model("control_v11p_sd15_canny", sha256=SHA),
    model("depth-sdxl"),
    model("xinsir-union"),
    model("t2iadapter_sketch", Kind.T2I_ADAPTER),
    model("ip-adapter", Kind.IP_ADAPTER),
    model("broken", problem="truncated"),
)


def test_models_have_their_hash_where_it_is_known() -> None:
    assert HOUSE.ask("model_list", update="true") == {
        "model_list": [
            "None",
            "control_v11p_sd15_canny [0123abcd]",
            "depth-sdxl",
            "xinsir-union",
            "t2iadapter_sketch",
            "ip-adapter",
        ]
    }


def test_modules_are_listed_by_name_or_label_with_their_numbers() -> None:
    by_name, by_label = HOUSE.ask("module_list"), HOUSE.ask("module_list", alias_names="true")
    assert by_name["module_list"] == [*(each.name for each in PREPROCESSORS), *IP_ADAPTER_MODULES]
    assert "invert (from white bg & black line)" in by_label["module_list"]
    assert by_name["module_detail"].keys() == set(by_name["module_list"])
    canny = by_name["module_detail"]["canny"]
    assert canny["model_free"] is True
    assert [slider["name"] for slider in canny["sliders"]] == [
        "Preprocessor resolution",
        "Low threshold",
        "High threshold",
    ]
    assert canny["sliders"][1] == {"name": "Low threshold", "value": 100, "min": 0, "max": 255, "step": 1}
    tile = by_name["module_detail"]["tile_resample"]
    assert tile["sliders"][0] is None  # no resolution, but a number after it
    assert tile["sliders"][1]["max"] == 8
    assert by_name["module_detail"]["none"]["sliders"] == []
    assert by_name["module_detail"]["hed"]["model_free"] is False


def test_control_types_sort_modules_and_models() -> None:
    types = HOUSE.ask("control_types")["control_types"]
    canny = types["Canny"]
    assert canny["module_list"] == ["none", "canny", "invert (from white bg & black line)"]
    assert canny["model_list"] == ["None", "control_v11p_sd15_canny [0123abcd]", "xinsir-union"]
    assert (canny["default_option"], canny["default_model"]) == ("canny", "control_v11p_sd15_canny [0123abcd]")
    assert types["Reference"]["default_model"] == "None"
    assert types["All"]["default_option"] == "none"
    labels = {*(each.label for each in PREPROCESSORS), *IP_ADAPTER_MODULES}
    assert {label for each in types.values() for label in each["module_list"]} == labels
    assert types["IP-Adapter"]["model_list"] == ["None", "ip-adapter"] != types["T2I-Adapter"]["model_list"]
    assert types["IP-Adapter"]["default_option"] == "ip-adapter-auto"
    assert all(each["default_option"] in each["module_list"] for each in types.values())
    alone = House(model("nameless")).ask("control_types")["control_types"]["Depth"]
    assert alone["model_list"] == ["None", "nameless"]  # it may be any
    assert alone["default_model"] == "None"


def test_settings_and_version() -> None:
    assert HOUSE.ask("settings") == {"control_net_unit_count": 10}
    assert HOUSE.ask("version") == {"version": 3}


@pytest.mark.parametrize("name", ["controlnet_input_images", "controlnet_images"])
def test_detecting_runs_a_job_for_each_picture(name: str) -> None:
    house = House()
    red, blue = (encode(Image.new("RGB", (4, 4), colour)) for colour in ("red", "blue"))
    body = {"controlnet_module": "canny", name: [red, f"data:image/png;base64,{blue}"],
            "controlnet_processor_res": 256, "controlnet_threshold_a": 64, "controlnet_threshold_b": -1}  # fmt: skip
    answer = house.ask("detect", body)
    assert answer == {"images": [red, blue], "info": "Success"}
    assert [request.preprocessor for request in house.ran] == ["canny", "canny"]
    assert house.ran[0].options == {"resolution": 256, "threshold_a": 64}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (None, ""),
        ([], ""),
        ({"controlnet_module": "canny"}, "controlnet_input_images"),
        ({"controlnet_module": "canny", "controlnet_input_images": "x"}, "controlnet_input_images"),
        ({"controlnet_module": "canny", "controlnet_input_images": ["!"]}, "controlnet_input_images"),
        ({"controlnet_module": "canny", "controlnet_input_images": [5]}, "controlnet_input_images"),
        ({"controlnet_module": "canny", "controlnet_input_images": ["eA=="] * 101}, "controlnet_input_images"),
        ({"controlnet_module": "canny", "controlnet_input_images": ["eA=="], "controlnet_masks": ["eA=="]},
         "controlnet_masks"),
        ({"controlnet_module": "canny", "controlnet_input_images": ["eA=="], "controlnet_processor_res": "big"},
         "resolution"),
    ],
)  # fmt: skip
def test_what_cannot_be_detected_is_refused_at_its_field(body: object, field: str) -> None:
    house = House()
    with pytest.raises(BadRequest) as caught:
        house.ask("detect", body)
    assert caught.value.field == field
    assert not house.ran


def test_what_needs_a_missing_network_is_refused_before_it_is_queued() -> None:
    house = House()
    for module, word in (("mlsd", "hough"), ("depth_zoe", "depth_zoe/config.json")):
        with pytest.raises(NotFound, match=word) as caught:
            house.ask("detect", {"controlnet_module": module, "controlnet_input_images": ["eA=="]})
        assert caught.value.field == "controlnet_module"
    assert not house.ran


def write_network(folder: Path) -> None:
    """Write a ControlNet for the pocket model that has learnt nothing and still says something."""
    torch.manual_seed(1)
    network = ControlNetModel.from_unet(UNet2DConditionModel.from_pretrained(POCKET / "unet"))
    with torch.no_grad():
        for output in (
            *network.controlnet_down_blocks,
            network.controlnet_mid_block,
            network.controlnet_cond_embedding.conv_out,
        ):
            output.weight.normal_(std=0.1)
    network.save_pretrained(folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    networks = tmp_path_factory.mktemp("networks")
    write_network(networks / "sketchy")
    with run_server(tmp_path_factory.mktemp("server"), "--nowebui", "--controlnet-dir", str(networks)) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> webuiapi.WebUIApi:
    return webuiapi.WebUIApi(host="127.0.0.1", port=int(server.url.rpartition(":")[2]))


def test_the_real_client_finds_its_way(client: webuiapi.WebUIApi) -> None:
    assert client.controlnet_version() == 3
    assert [name.partition(" ")[0] for name in client.controlnet_model_list()] == ["None", "sketchy"]
    assert {"none", "canny", "tile_resample"} <= set(client.controlnet_module_list())
    found = client.controlnet_detect([disc()], module="canny", processor_res=192)
    assert found.info == "Success"
    (edges,) = found.images
    assert edges.size == (256, 192)
    left, top, right, bottom = edges.convert("L").getbbox()
    assert max(abs(left - 80), abs(top - 40), abs(right - 181), abs(bottom - 141)) <= 4  # the disc, twice as large


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ({"module": "canny", "model": "gone [0123abcd]"}, ["ControlNet not found", "gone"]),
        ({"module": "mlsd"}, ["units.0.preprocessor", "mlsd", "hough"]),
        ({"module": "canny", "weight": 7}, ["unit 0", "weight"]),
        ({"module": "canny", "resize_mode": "Sideways"}, ["unit 0", "Crop and Resize"]),
    ],
)
def test_the_real_client_is_told_what_cannot_be(
    client: webuiapi.WebUIApi, unit: Mapping[str, Any], words: list[str]
) -> None:
    asked = webuiapi.ControlNetUnit(image=disc(), **unit)
    with pytest.raises(RuntimeError) as caught:
        client.txt2img(
            prompt="a red circle", steps=1, width=64, height=64, alwayson_scripts={}, controlnet_units=[asked]
        )
    status, text = caught.value.args
    assert status in (404, 422)
    assert [word for word in words if word not in text] == []


def draw(client: webuiapi.WebUIApi, *units: webuiapi.ControlNetUnit) -> webuiapi.WebUIApiResult:
    asked = {"prompt": "a red circle", "steps": 2, "width": 64, "height": 64, "seed": 3}
    return client.txt2img(**asked, alwayson_scripts={}, controlnet_units=list(units))


def test_a_unit_of_the_real_client_guides_and_says_so(client: webuiapi.WebUIApi) -> None:
    model = client.controlnet_model_list()[1]
    unit = webuiapi.ControlNetUnit(
        image=disc(), module="canny", model=model, weight=0.75, threshold_a=50, threshold_b=150, guidance_end=0.9
    )
    guided, plain = draw(client, unit), draw(client)
    assert guided.image.tobytes() != plain.image.tobytes()
    infotext = guided.info["infotexts"][0]
    said = re.search(r'ControlNet 0: "([^"]+)"', infotext)
    assert said is not None, infotext
    assert said[1].startswith("Module: canny, Model: sketchy")
    assert "Weight: 0.75" in said[1]
    assert "Threshold A: 50, Threshold B: 150" in said[1]
    assert "Resize Mode: Resize and Fill" in said[1]
    found = read_units({"ControlNet 0": said[1]})
    assert found is not None
    assert found["units"][0]["model"] == "sketchy"
    assert "ControlNet" not in plain.info["infotexts"][0]


def test_units_that_are_off_or_weigh_nothing_change_nothing(client: webuiapi.WebUIApi) -> None:
    off = webuiapi.ControlNetUnit(image=disc(), module="gone", enabled=False)
    light = webuiapi.ControlNetUnit(image=disc(), module="canny", model="sketchy", weight=0)
    pictures = {draw(client, *units).image.tobytes() for units in ((), (off,), (light,))}
    assert len(pictures) == 1
