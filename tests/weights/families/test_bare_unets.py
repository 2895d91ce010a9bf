"""UNets of SD1 and SDXL in files of their own: what they are, and what completes them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

from tests import tiny_xl
from tests.gguf_parts import unet_weights, write_gguf
from tests.tiny_models import WIDTH, make_networks, unet_key, vae_weights
from webui.domain.models import Family, ModelInfo
from webui.domain.plan import PartRef
from webui.errors import BadFile
from webui.weights.catalog.files import ModelFiles
from webui.weights.catalog.index import ModelIndex
from webui.weights.catalog.places import ModelFolders
from webui.weights.checkpoint import Checkpoint
from webui.weights.loading.load import load
from webui.weights.loading.quantised import is_quantised
from webui.weights.recognition.identify import identify
from webui.weights.recognition.part_search import PartSearch
from webui.weights.recognition.parts import complete

XL = {"cross_attention_dim": 2048, "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816}


def write_text_encoder(path: Path) -> Path:
    weights = make_networks()["text_encoder"].state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in weights.items()}, path)
    return path


def write_shapes(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    """Write a file of half-precision tensors that holds nothing but their header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw)
    with path.open("r+b") as file:
        file.truncate(8 + len(raw) + end)
    return path


def xl_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shapes of a narrow UNet that is told as much as SDXL's."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**{**tiny_xl.UNET, "in_channels": 4, **XL})
    return {unet_key(name, attends=(0, 1)): tuple(tensor.shape) for name, tensor in unet.state_dict().items()}


def clip_shapes(width: int, projection: int) -> dict[str, tuple[int, ...]]:
    return {
        "text_model.embeddings.token_embedding.weight": (49408, width),
        "text_model.embeddings.position_embedding.weight": (77, width),
        "text_model.encoder.layers.0.mlp.fc1.weight": (4 * width, width),
        "text_projection.weight": (projection, width),
    }


def with_parts(checkpoint: Checkpoint, **files: Path) -> Checkpoint:
    parts = [PartRef(component=name, name=file.stem, path=file, sha256="0" * 64) for name, file in files.items()]
    return complete(checkpoint, parts)


@pytest.mark.parametrize("kind", ["gguf", "safetensors", "prefixed", "diffusers", "prefixed diffusers"])
def test_sd1s_unet_is_completed_and_loaded(kind: str, tmp_path: Path) -> None:
    weights, file = unet_weights(), tmp_path / f"unet.{kind}"
    if kind == "gguf":
        write_gguf(file, weights)
    else:
        prefix = "model.diffusion_model." if kind.startswith("prefixed") else ""
        weights = make_networks()["unet"].state_dict() if kind.endswith("diffusers") else weights
        save_file({f"{prefix}{name}": tensor for name, tensor in weights.items()}, file)
    save_file(vae_weights(), tmp_path / "vae.safetensors")
    bare = identify(file)
    assert (bare.family, bare.components) == (Family.SD1, ("unet",))
    assert [(slot.component, slot.role, slot.width) for slot in bare.slots] == [
        ("vae", "vae", 4), ("text_encoder", "clip", WIDTH),
    ]  # fmt: skip
    with pytest.raises(BadFile, match=r"has no VAE and no CLIP-L\."):
        complete(bare, [])
    whole = with_parts(
        bare, vae=tmp_path / "vae.safetensors", text_encoder=write_text_encoder(tmp_path / "clip.safetensors")
    )
    networks = load(whole, dict.fromkeys(whole.parts, torch.float32)).networks
    assert is_quantised(networks["unet"].get_submodule("time_embedding.linear_1").weight) is (kind == "gguf")
    wanted = make_networks()
    tokens, latents = torch.arange(77).view(1, 77), torch.ones(1, 4, 8, 8)
    with torch.inference_mode():
        read = networks["text_encoder"](tokens).last_hidden_state
        assert torch.equal(read, wanted["text_encoder"](tokens).last_hidden_state)
        found, exact = (each["unet"](latents, torch.tensor(9), read).sample for each in (networks, wanted))
        assert torch.equal(networks["vae"].decode(latents).sample, wanted["vae"].decode(latents).sample)
    assert torch.allclose(found, exact, atol=1e-4) is (kind != "gguf")


def test_sdxls_unet_is_completed_from_both_of_its_text_encoders(tmp_path: Path) -> None:
    bare = identify(write_shapes(tmp_path / "unet.safetensors", xl_shapes()))
    assert (bare.family, bare.components, bare.zero_negative) == (Family.SDXL, ("unet",), True)
    assert [(slot.words, slot.role, slot.width) for slot in bare.slots] == [
        ("VAE", "vae", 4), ("CLIP-L", "clip", 768), ("CLIP-G", "clip", 1280),
    ]  # fmt: skip
    save_file(vae_weights(), tmp_path / "vae.safetensors")
    files = {
        "vae": tmp_path / "vae.safetensors",
        "text_encoder": write_shapes(tmp_path / "clip_l.safetensors", clip_shapes(768, 768)),
        "text_encoder_2": write_shapes(tmp_path / "clip_g.safetensors", clip_shapes(1280, 1280)),
    }
    whole = with_parts(bare, **files)
    assert whole.configs["vae"]["scaling_factor"] == 0.13025
    assert [whole.parts[name].network for name in ("text_encoder", "text_encoder_2")] == [
        "CLIPTextModel", "CLIPTextModelWithProjection",
    ]  # fmt: skip
    assert [whole.configs[name]["hidden_act"] for name in ("text_encoder", "text_encoder_2")] == ["quick_gelu", "gelu"]
    with pytest.raises(BadFile, match="do not fit together"):
        with_parts(bare, **{**files, "text_encoder": files["text_encoder_2"]})


def test_unets_of_other_families_are_still_told(tmp_path: Path) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in unet_weights().items()}
    wide = {name: (shape[0], 1024) if "attn2.to_k" in name else shape for name, shape in shapes.items()}
    for other in (wide, shapes | {"label_emb.0.0.weight": (8, 2560)}):
        with pytest.raises(BadFile, match="a UNet alone, and not of SD1 or SDXL"):
            identify(write_shapes(tmp_path / "unet.safetensors", other))
    with pytest.raises(BadFile, match=r"not an SD1 UNet"):
        identify(write_shapes(tmp_path / "unet.safetensors", {"input_blocks.0.0.weight": (32, 4, 3, 3)}))


@pytest.mark.parametrize(
    ("name", "there", "taken"),
    [
        ("xl", ("vae-ft-mse.safetensors", "sdxl_vae.safetensors"), "sdxl_vae"),
        ("xl", ("vae-ft-mse.safetensors",), None),
        ("one", ("sdxl_vae.safetensors", "vae-ft-mse.safetensors"), "vae-ft-mse"),
        ("one", ("sdxl_vae.safetensors",), None),
    ],
)
def test_a_vae_of_the_other_family_is_not_taken_by_itself(
    name: str, there: tuple[str, ...], taken: str | None, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    write_shapes(models / "Stable-diffusion" / "xl.safetensors", xl_shapes())
    write_gguf(models / "Stable-diffusion" / "one.gguf", unet_weights())
    (models / "VAE").mkdir()
    for file in there:
        save_file(vae_weights(), models / "VAE" / file)
    files = ModelFiles.find(ModelFolders.below(models), ModelIndex(tmp_path / "index.db"))
    found: dict[str, ModelInfo] = dict(PartSearch(files).find(files.checkpoints.find(name)).parts)
    assert ("vae" in found) is (taken is not None) and (taken is None or found["vae"].name == taken)


@pytest.mark.parametrize("name", [f"down_blocks.0.resnets.{10**9}.x", f"up_blocks.{'9' * 5000}.resnets.0.x"])
def test_names_that_count_without_end_are_refused(tmp_path: Path, name: str) -> None:
    shapes = {name: (1,), "down_blocks.0.resnets.0.conv1.weight": (32, 32, 3, 3), "conv_out.weight": (4, 32, 3, 3)}
    with pytest.raises(BadFile):
        identify(write_shapes(tmp_path / "unet.safetensors", shapes))


def test_few_step_unets_under_diffusers_names(tmp_path: Path) -> None:
    """As those of Lightning, Hyper-SD and DMD2 are published; an LCM's is told its guidance."""
    network = UNet2DConditionModel(**{**tiny_xl.UNET, "in_channels": 4, **XL, "time_cond_proj_dim": 16})
    save_file(network.state_dict(), tmp_path / "sdxl_lightning_4step_unet.safetensors")
    bare = identify(tmp_path / "sdxl_lightning_4step_unet.safetensors")
    assert (bare.family, bare.defaults.sampler, bare.defaults.distilled_guidance) == (Family.SDXL, "LCM", 8.5)
    config = bare.configs["unet"]
    assert (config["time_cond_proj_dim"], bare.defaults.steps) == (16, 4)
    loaded = load(replace(bare, slots=()), {"unet": torch.float32}).networks["unet"].state_dict()
    assert loaded.keys() == network.state_dict().keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in network.state_dict().items())
