"""LoRAs of every layout by the names and shapes that the programs which train them write."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.header_files import write_header
from webui.errors import BadFile
from webui.weights.recognition.lora_files import identify_lora, read_any, read_modules, tell_base

Shapes = dict[str, tuple[int, ...]]


def kohya(*modules: tuple[str, int], prefix: str = "lora_unet_", rank: int = 8) -> Shapes:
    """Return kohya's three tensors of each (module, numbers that go in)."""
    found: Shapes = {}
    for module, width in modules:
        found[f"{prefix}{module}.lora_down.weight"] = (rank, width)
        found[f"{prefix}{module}.lora_up.weight"] = (width, rank)
        found[f"{prefix}{module}.alpha"] = ()
    return found


def peft(*modules: tuple[str, int], prefix: str = "transformer.", rank: int = 16) -> Shapes:
    found: Shapes = {}
    for module, width in modules:
        found[f"{prefix}{module}.lora_A.weight"] = (rank, width)
        found[f"{prefix}{module}.lora_B.weight"] = (width, rank)
    return found


CROSS = "down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
TEXT = "text_model_encoder_layers_0_self_attn_q_proj"

CASES: dict[str, tuple[Shapes, str]] = {
    "kohya sd1": (kohya((CROSS, 768)), "sd1"),
    "kohya sd2": (kohya((CROSS, 1024)), "sd2"),
    "kohya sdxl": (kohya((CROSS, 2048)), "sdxl"),
    "kohya sdxl, original names": (kohya(("input_blocks_4_1_transformer_blocks_0_attn2_to_k", 2048)), "sdxl"),
    "kohya sdxl without cross attention": (
        kohya(("input_blocks_7_1_transformer_blocks_9_attn1_to_q", 1280)), "sdxl"
    ),
    "kohya sd1 without cross attention": (
        kohya(("down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q", 320)), "sd1"
    ),
    "kohya text of sd1": (kohya((TEXT, 768), prefix="lora_te_"), "sd1"),
    "kohya text of sd2": (kohya((TEXT, 1024), prefix="lora_te_"), "sd2"),
    "kohya texts of sdxl": (kohya((TEXT, 768), prefix="lora_te1_") | kohya((TEXT, 1280), prefix="lora_te2_"), "sdxl"),
    "kohya convolutions alone": (
        {"lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight": (8, 320, 3, 3)}
        | kohya((TEXT, 768), prefix="lora_te_"),
        "sd1",
    ),
    "diffusers sd1": (peft(("down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", 768), prefix="unet."), "sd1"),
    "diffusers' old processors": (
        {"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora.down.weight": (4, 768)}, "sd1"
    ),
    "peft sdxl": (
        peft(("down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", 2048), prefix="base_model.model."), "sdxl"
    ),
    "peft's down and up": (
        {"unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora.down.weight": (4, 2048)}, "sdxl"
    ),
    "loha sdxl": ({f"lora_unet_{CROSS}.hada_w1_a": (1280, 4), f"lora_unet_{CROSS}.hada_w1_b": (4, 2048)}, "sdxl"),
    "lokr of sdxl, by its depth": (
        {"lycoris_down_blocks_2_attentions_0_transformer_blocks_3_attn2_to_k.lokr_w1": (8, 8)}, "sdxl"
    ),
    "kohya flux": (kohya(("double_blocks_0_img_attn_qkv", 3072), ("single_blocks_0_linear1", 3072)), "flux"),
    "kohya flux, feed-forward of one block": (kohya(("single_blocks_3_linear2", 15360)), "flux"),
    "ai-toolkit flux": (peft(("single_transformer_blocks.0.attn.to_q", 3072)), "flux"),
    "diffusers flux, double blocks": (
        peft(("transformer_blocks.0.attn.add_q_proj", 3072), ("transformer_blocks.0.attn.to_q", 3072)), "flux"
    ),
    "x-flux": ({"double_blocks.0.processor.qkv_lora1.down.weight": (16, 3072)}, "flux"),
    "comfyui flux": (peft(("double_blocks.0.img_attn.qkv", 3072), prefix="diffusion_model."), "flux"),
    "onetrainer flux": (kohya(("single_transformer_blocks_0_attn_to_q", 3072), prefix="lora_transformer_"), "flux"),
    "flux.2 dev": (peft(("double_blocks.0.img_attn.qkv", 6144), prefix="diffusion_model."), "flux2"),
    "flux.2, diffusers": (peft(("single_transformer_blocks.0.attn.to_qkv_mlp_proj", 6144)), "flux2"),
    "flux.2 of flux.1's width": (
        {
            "diffusion_model.double_blocks.0.img_mlp.0.lora_A.weight": (16, 3072),
            "diffusion_model.double_blocks.0.img_mlp.0.lora_B.weight": (18432, 16),
        },
        "flux2",
    ),
    "kohya sd3": (kohya(("joint_blocks_0_x_block_attn_qkv", 1536)), "sd3"),
    "diffusers sd3": (
        peft(("transformer_blocks.0.attn.to_q", 1536), ("transformer_blocks.0.attn.to_add_out", 1536)), "sd3"
    ),
    "diffusers sd3.5 large": (peft(("transformer_blocks.0.attn.to_q", 2432)), "sd3"),
    "qwen-image": (
        peft(("transformer_blocks.0.attn.to_q", 3072), ("transformer_blocks.0.img_mlp.net.2", 12288)), "qwen_image"
    ),
    "qwen-image, attention alone": (
        peft(("transformer_blocks.0.attn.to_q", 3072), ("transformer_blocks.59.attn.add_q_proj", 3072)), "qwen_image"
    ),
    "z-image": (peft(("layers.0.attention.to_q", 3840), prefix="diffusion_model."), "z_image"),
    "lumina 2": (peft(("layers.0.attention.qkv", 2304), prefix="diffusion_model."), "lumina2"),
    "pixart": (peft(("transformer_blocks.0.attn1.to_q", 1152), ("transformer_blocks.0.attn2.to_k", 1152)), "pixart"),
    "sana": (peft(("transformer_blocks.0.attn1.to_q", 2240), ("transformer_blocks.0.attn2.to_q", 2240)), "sana"),
    "auraflow": (peft(("joint_transformer_blocks.0.attn.to_q", 3072)), "auraflow"),
    "hunyuan-dit": (peft(("blocks.0.attn1.to_q", 1408), ("blocks.0.attn2.to_q", 1408)), "hunyuan_dit"),
    "a video model": (peft(("blocks.0.cross_attn.q", 5120), prefix="diffusion_model."), ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_family_is_told(case: str, tmp_path: Path) -> None:
    shapes, family = CASES[case]
    file = write_header(tmp_path / "x.safetensors", shapes)
    assert tell_base(read_modules(read_any(file, "lora")[1]), {}) == family
    found = identify_lora(file)
    assert found.problem is None
    assert (found.family.value if found.family else "") in (family, ""), "None: a family that Easel cannot run"


@pytest.mark.parametrize(
    ("case", "metadata", "family"),
    [
        ("kohya flux", {"modelspec.architecture": "chroma/lora"}, "chroma"),
        ("kohya sdxl", {"modelspec.architecture": "kolors/lora"}, "kolors"),
        ("kohya sdxl", {"ss_base_model_version": "sd_v1"}, "sdxl"),
        ("kohya sd1", {"modelspec.architecture": "flux-1-dev/lora"}, "sd1"),
        ("a video model", {"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl"),
        ("a video model", {"ss_base_model_version": "wan"}, ""),
    ],
)
def test_metadata_decides_only_where_tensors_look_alike(
    case: str, metadata: dict[str, str], family: str, tmp_path: Path
) -> None:
    file = write_header(tmp_path / "x.safetensors", CASES[case][0], metadata)
    assert tell_base(read_modules(read_any(file, "lora")[1]), metadata) == family


@pytest.mark.parametrize(
    ("leaf", "shape", "algorithm", "rank"),
    [
        ("lora_down.weight", (8, 768), "LoRA", 8),
        ("hada_w1_b", (4, 768), "LoHa", 4),
        ("lokr_w1", (4, 4), "LoKr", 0),
        ("oft_blocks", (4, 8, 8), "OFT", 0),
        ("diff", (320, 768), "difference", 0),
        ("a1.weight", (768, 4), "GLoRA", 4),
        ("a2.weight", (768, 4), "GLoRA", 4),
        ("on_input", (), "IA³", 0),
    ],
)
def test_algorithm_and_rank(leaf: str, shape: tuple[int, ...], algorithm: str, rank: int, tmp_path: Path) -> None:
    found = identify_lora(write_header(tmp_path / "x.safetensors", {f"lora_unet_{CROSS}.{leaf}": shape}))
    assert found.details["algorithm"] == algorithm
    assert found.details.get("rank", 0) == rank


def test_dora_is_told_from_lora(tmp_path: Path) -> None:
    shapes = kohya((CROSS, 768)) | {f"lora_unet_{CROSS}.dora_scale": (320, 1)}
    found = identify_lora(write_header(tmp_path / "x.safetensors", shapes))
    assert found.details["algorithm"] == "DoRA"
    assert found.parts == ("denoiser",)


def test_which_networks_it_changes(tmp_path: Path) -> None:
    both = kohya((CROSS, 768)) | kohya((TEXT, 768), prefix="lora_te_")
    assert identify_lora(write_header(tmp_path / "both.safetensors", both)).parts == ("denoiser", "text_encoder")
    text = kohya((TEXT, 768), prefix="lora_te_")
    assert identify_lora(write_header(tmp_path / "text.safetensors", text)).parts == ("text_encoder",)


def test_a_folder_of_pefts(tmp_path: Path) -> None:
    write_header(tmp_path / "cat" / "adapter_model.safetensors", CASES["peft sdxl"][0])
    found = identify_lora(tmp_path / "cat")
    assert found.weights == ("adapter_model.safetensors",)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (
            {"model.diffusion_model.input_blocks.0.0.weight": (4, 4)},
            "a checkpoint, not a LoRA; .* models/Stable-diffusion",
        ),
        ({"emb_params": (2, 768)}, "a textual inversion, not a LoRA; it belongs into models/embeddings"),
        ({"something": (2, 3)}, "no LoRA of a known layout"),
        ({}, "no LoRA of a known layout"),
    ],
)
def test_what_is_none_says_what_it_is(shapes: Shapes, words: str, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=words) as caught:
        identify_lora(write_header(tmp_path / "x.safetensors", shapes))
    assert caught.value.field == "lora"
