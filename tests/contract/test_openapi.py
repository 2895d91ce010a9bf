"""The description that generated clients are made from: A1111's routes, operation ids, schema and field names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.api.site import Site, open_site
from tests.header_files import write_header
from tests.pickled_files import saved

PROCESSING = """
prompt negative_prompt styles seed subseed subseed_strength seed_resize_from_h seed_resize_from_w sampler_name scheduler
batch_size n_iter steps cfg_scale width height restore_faces tiling do_not_save_samples do_not_save_grid eta
denoising_strength s_min_uncond s_churn s_tmax s_tmin s_noise override_settings override_settings_restore_afterwards
refiner_checkpoint refiner_switch_at disable_extra_networks firstpass_image comments force_task_id sampler_index
script_name script_args send_images save_images alwayson_scripts infotext
"""
TXT2IMG = """
enable_hr firstphase_width firstphase_height hr_scale hr_upscaler hr_second_pass_steps hr_resize_x hr_resize_y
hr_checkpoint_name hr_sampler_name hr_scheduler hr_prompt hr_negative_prompt
"""
IMG2IMG = """
init_images resize_mode image_cfg_scale mask mask_blur mask_blur_x mask_blur_y mask_round inpainting_fill
inpaint_full_res inpaint_full_res_padding inpainting_mask_invert initial_noise_multiplier latent_mask
include_init_images
"""
EXTRAS = """
resize_mode show_extras_results gfpgan_visibility codeformer_visibility codeformer_weight upscaling_resize
upscaling_resize_w upscaling_resize_h upscaling_crop upscaler_1 upscaler_2 extras_upscaler_2_visibility upscale_first
"""
FORGES_GUIDANCE = "distilled_cfg_scale"
FORGES = {"hr_cfg", "hr_additional_modules"}
ROUTES = """
txt2img img2img extra-single-image extra-batch-images png-info progress interrogate interrupt skip options cmd-flags
samplers schedulers upscalers latent-upscale-modes sd-models sd-vae hypernetworks face-restorers realesrgan-models
prompt-styles embeddings refresh-embeddings refresh-checkpoints refresh-vae memory unload-checkpoint reload-checkpoint
scripts script-info loras refresh-loras extensions
"""


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with open_site(tmp_path_factory.mktemp("site")) as site:
        return dict(site.client.get("/openapi.json").json())


def operations(described: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in described["paths"].values():
        yield from path.values()


def test_the_routes_are_a1111s(described: dict[str, Any]) -> None:
    ours = {path.removeprefix("/sdapi/v1/") for path in described["paths"] if path.startswith("/sdapi/")}
    assert ours == set(ROUTES.split())


@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        ("StableDiffusionProcessingTxt2Img", {*PROCESSING.split(), FORGES_GUIDANCE, *TXT2IMG.split(), *FORGES}),
        ("StableDiffusionProcessingImg2Img", {*PROCESSING.split(), FORGES_GUIDANCE, *IMG2IMG.split()}),
        ("ExtrasSingleImageRequest", {*EXTRAS.split(), "image"}),
        ("ExtrasBatchImagesRequest", {*EXTRAS.split(), "imageList"}),
        ("ExtrasSingleImageResponse", {"html_info", "image"}),
        ("ExtrasBatchImagesResponse", {"html_info", "images"}),
        ("FileData", {"data", "name"}),
        ("UpscalerItem", {"name", "model_name", "model_path", "model_url", "scale"}),
        ("RealesrganItem", {"name", "path", "scale"}),
        ("SDVaeItem", {"model_name", "filename"}),
        ("EmbeddingItem", {"step", "sd_checkpoint", "sd_checkpoint_name", "shape", "vectors"}),
        ("ScriptsList", {"txt2img", "img2img"}),
        ("ScriptInfo", {"name", "is_alwayson", "is_img2img", "args"}),
        ("ScriptArg", {"label", "value", "minimum", "maximum", "step", "choices"}),
        ("TextToImageResponse", {"images", "parameters", "info"}),
    ],
)
def test_fields_are_named_as_a1111s(described: dict[str, Any], schema: str, fields: set[str]) -> None:
    assert set(described["components"]["schemas"][schema]["properties"]) == fields


def test_every_operation_has_an_id_of_its_own_and_a_description(described: dict[str, Any]) -> None:
    ids = [operation["operationId"] for operation in operations(described)]
    assert len(ids) == len(set(ids))
    assert all(operation["description"] for operation in operations(described))


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            for each in value.values():
                yield from references(each)
        elif isinstance(value, list):
            for each in value:
                yield from references(each)

    for reference in set(references(described)):
        place: Any = described
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_every_kind_of_request_are_described(described: dict[str, Any]) -> None:
    body = described["paths"]["/api/v2/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    kinds = {choice["$ref"].rpartition("/")[2] for choice in body["oneOf"]}
    assert kinds == {"GenerationRequest", "UpscaleRequest", "PreprocessRequest"}


def test_lists_have_a1111s_form(tmp_path_factory: pytest.TempPathFactory) -> None:
    with open_site(tmp_path_factory.mktemp("lists")) as site:
        _check_lists(site)


def _check_lists(site: Site) -> None:
    assert site.client.get("/sdapi/v1/upscalers").json()[1] == {
        "name": "Lanczos", "model_name": None, "model_path": None, "model_url": None, "scale": 4.0,
    }  # fmt: skip
    infos = site.client.get("/sdapi/v1/script-info").json()
    plot = next(info for info in infos if info["name"] == "x/y/z plot" and not info["is_img2img"])
    assert plot["is_alwayson"] is False
    assert [argument["label"] for argument in plot["args"]][:3] == ["X type", "X values", "X values"]
    upscale = next(info for info in infos if info["name"] == "sd upscale")
    assert upscale["is_img2img"] is True
    overlap = upscale["args"][1]
    assert (overlap["label"], overlap["value"], overlap["minimum"], overlap["maximum"]) == ("Tile overlap", 64, 0, 256)
    assert "Lanczos" in upscale["args"][2]["choices"]
    names = site.client.get("/sdapi/v1/scripts").json()
    assert "loopback" in names["img2img"] and "loopback" not in names["txt2img"]


def test_embeddings_are_listed_by_what_the_model_can_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    data_dir = tmp_path_factory.mktemp("embeddings")
    folder = data_dir / "models" / "embeddings"
    folder.mkdir(parents=True)
    (folder / "old.pt").write_bytes(b"PK\x03\x04")
    with open_site(data_dir) as site:
        skipped = site.client.get("/sdapi/v1/embeddings").json()
        assert skipped["loaded"] == {} and skipped["skipped"]["old"]["shape"] == 0
        write_header(folder / "wide.safetensors", {"clip_l": (2, 768), "clip_g": (2, 1280)})
        write_header(folder / "style.safetensors", {"emb_params": (3, 768)})
        site.client.post("/sdapi/v1/refresh-embeddings")
        found = site.client.get("/sdapi/v1/embeddings").json()
        assert {name: each["vectors"] for name, each in found["loaded"].items()} == {"style": 3}
        assert {name: each["shape"] for name, each in found["skipped"].items()} == {"old": 0, "wide": 2048}
        tokens = site.client.get("/api/v2/tokens", params={"text": "(style:1.2), style"}).json()
        assert tokens["tokens"] == 7, "three vectors, a comma, three vectors"
        layers = {"linear.0.weight": torch.zeros(768, 768)}
        (data_dir / "models" / "hypernetworks" / "x.pt").write_bytes(saved({768: (layers, layers)}))
        site.client.post("/sdapi/v1/refresh-checkpoints")
        assert [each["name"] for each in site.client.get("/sdapi/v1/hypernetworks").json()] == ["x"]
