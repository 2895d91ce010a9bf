"""Files of every kind by the names that programs write, and where each belongs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.header_files import write_header
from webui.domain.models import Family, Kind
from webui.errors import BadFile
from webui.weights.formats.headers import read_header
from webui.weights.recognition.control_files import identify_control
from webui.weights.recognition.encoder_files import identify_encoder
from webui.weights.recognition.kinds import KINDS, refuse_other_kind, tell_kind

Shapes = dict[str, tuple[int, ...]]

CROSS = "transformer_blocks.0.attn2.to_k.weight"
CASES: dict[str, tuple[Kind | None, Shapes]] = {
    "sd1": (Kind.CHECKPOINT, {"model.diffusion_model.input_blocks.0.0.weight": (1,), "first_stage_model.x": (1,)}),
    "flux, transformer alone": (Kind.CHECKPOINT, {"double_blocks.0.img_attn.qkv.weight": (2, 2)}),
    "diffusers' unet": (Kind.CHECKPOINT, {"down_blocks.0.resnets.0.conv1.weight": (1,), "time_embedding.x": (1,)}),
    "all in one, with text encoders": (
        Kind.CHECKPOINT, {"model.diffusion_model.x": (1,), "text_encoders.t5xxl.transformer.shared.weight": (1, 1)}
    ),
    "kohya's lora": (Kind.LORA, {"lora_unet_x.lora_down.weight": (1, 1)}),
    "peft's lora": (Kind.LORA, {"transformer.x.lora_A.weight": (1, 1)}),
    "x-flux's lora": (Kind.LORA, {"double_blocks.0.processor.proj_lora1.down.weight": (1, 1)}),
    "lokr": (Kind.LORA, {"lycoris_x.lokr_w1": (1, 1)}),
    "controlnet": (Kind.CONTROLNET, {f"control_model.input_blocks.1.1.{CROSS}": (320, 768)}),
    "diffusers' controlnet": (
        Kind.CONTROLNET,
        {"controlnet_cond_embedding.conv_in.weight": (1,), f"down_blocks.0.attentions.0.{CROSS}": (1, 1)},
    ),
    "control-lora": (Kind.CONTROLNET, {"lora_controlnet": (1,), "input_blocks.0.0.weight": (1,)}),
    "lllite": (Kind.CONTROLNET, {"lllite_unet_input_blocks_4_1_x.down.0.weight": (1, 1)}),
    "t2i-adapter": (Kind.T2I_ADAPTER, {"body.0.block1.weight": (1,), "conv_in.weight": (320, 192, 3, 3)}),
    "diffusers' t2i-adapter": (Kind.T2I_ADAPTER, {"adapter.conv_in.weight": (320, 768, 3, 3)}),
    "ip-adapter": (Kind.IP_ADAPTER, {"image_proj.proj.weight": (1, 1), "ip_adapter.1.to_k_ip.weight": (320, 768)}),
    "ip-adapter with loras": (
        Kind.IP_ADAPTER, {"image_proj.x": (1,), "ip_adapter.0.to_q_lora.down.weight": (1, 1)}
    ),
    "embedding": (Kind.EMBEDDING, {"emb_params": (4, 768)}),
    "sdxl's embedding": (Kind.EMBEDDING, {"clip_l": (4, 768), "clip_g": (4, 1280)}),
    "diffusers' embedding": (Kind.EMBEDDING, {"<cat>": (4, 768)}),
    "clip": (Kind.TEXT_ENCODER, {"text_model.encoder.layers.0.x": (1,)}),
    "t5": (Kind.TEXT_ENCODER, {"encoder.block.0.layer.0.SelfAttention.q.weight": (1, 1)}),
    "a language model": (Kind.TEXT_ENCODER, {"model.embed_tokens.weight": (10, 3584)}),
    "clip's eyes": (Kind.IMAGE_ENCODER, {"vision_model.encoder.layers.0.x": (1,)}),
    "vae": (Kind.VAE, {"decoder.conv_in.weight": (1,), "encoder.conv_in.weight": (1,)}),
    "a checkpoint's vae": (Kind.VAE, {"first_stage_model.decoder.conv_in.weight": (1,)}),
    "taesd": (Kind.TAESD, {"decoder.layers.3.conv.0.weight": (1,)}),
    "a half of taesd": (Kind.TAESD, {"3.conv.0.weight": (1,), "1.weight": (1,)}),
    "upscaler": (Kind.UPSCALER, {"conv_first.weight": (1,), "body.0.rdb1.conv1.weight": (1,)}),
    "hypernetwork": (Kind.HYPERNETWORK, {"768.0.linear.0.weight": (1, 1)}),
    "nothing known": (None, {"weight": (3, 3)}),
    "nothing at all": (None, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_kind_is_told(case: str, tmp_path: Path) -> None:
    kind, shapes = CASES[case]
    assert tell_kind(read_header(write_header(tmp_path / "x.safetensors", shapes))) is kind


def clip(width: int) -> Shapes:
    parts = {"embeddings.token_embedding": (49408, width), "embeddings.position_embedding": (77, width)}
    parts |= {"encoder.layers.0.mlp.fc1": (4 * width, width)}
    return {f"text_model.{name}.weight": shape for name, shape in parts.items()}


def test_every_kind_is_among_the_cases_and_has_a_home() -> None:
    told = set(Kind) - {Kind.DETECTOR}  # these are no files of named tensors
    assert {kind for kind, _ in CASES.values() if kind is not None} == told == set(KINDS)


def test_a_file_in_the_wrong_folder_is_told_where_it_belongs(tmp_path: Path) -> None:
    file = write_header(tmp_path / "x.safetensors", CASES["ip-adapter"][1])
    with pytest.raises(
        BadFile, match=r"x\.safetensors: this is an IP-Adapter, not a VAE; it belongs into models/Contr"
    ):
        refuse_other_kind(file, read_header(file), Kind.VAE)
    refuse_other_kind(file, read_header(file), Kind.VAE, Kind.IP_ADAPTER)


@pytest.mark.parametrize(
    ("shapes", "kind", "family", "variant"),
    [
        ({f"control_model.input_blocks.1.1.{CROSS}": (320, 768)}, Kind.CONTROLNET, Family.SD1, ""),
        ({f"control_model.input_blocks.1.1.{CROSS}": (320, 1024)}, Kind.CONTROLNET, Family.SD2, ""),
        (
            {"controlnet_down_blocks.0.weight": (1,), f"down_blocks.1.attentions.0.{CROSS}": (640, 2048)},
            Kind.CONTROLNET, Family.SDXL, "",
        ),
        (
            {"controlnet_x.weight": (1,), f"down_blocks.1.attentions.0.{CROSS}": (640, 2048), "task_embedding": (1,)},
            Kind.CONTROLNET, Family.SDXL, "union",
        ),
        (
            {"lora_controlnet": (1,), "input_blocks.4.1.transformer_blocks.0.attn2.to_k.down": (128, 2048)},
            Kind.CONTROLNET, Family.SDXL, "control-lora",
        ),
        ({"lllite_unet_input_blocks_4_1_x.down.0.weight": (1, 1)}, Kind.CONTROLNET, Family.SDXL, "lllite"),
        (
            {"controlnet_blocks.0.weight": (3072, 3072), "double_blocks.0.img_attn.qkv.weight": (1, 1)},
            Kind.CONTROLNET, Family.FLUX, "",
        ),
        ({"controlnet_x": (1, 1), "controlnet_blocks.0.bias": (3072,)}, Kind.CONTROLNET, Family.FLUX, ""),
        ({"body.0.block1.weight": (1,), "conv_in.weight": (320, 192, 3, 3)}, Kind.T2I_ADAPTER, Family.SD1, ""),
        ({"adapter.conv_in.weight": (320, 768, 3, 3)}, Kind.T2I_ADAPTER, Family.SDXL, ""),
        ({"image_proj.x": (1,), "ip_adapter.1.to_k_ip.weight": (320, 768)}, Kind.IP_ADAPTER, Family.SD1, ""),
        ({"image_proj.x": (1,), "ip_adapter.1.to_k_ip.weight": (640, 2048)}, Kind.IP_ADAPTER, Family.SDXL, ""),
        (
            {"ip_adapter.0.to_q_lora.down.weight": (1, 1), "ip_adapter.1.to_k_ip.weight": (320, 768)},
            Kind.IP_ADAPTER, Family.SD1, "face-id",
        ),
        (
            {"double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight": (3072, 4096)},
            Kind.IP_ADAPTER, Family.FLUX, "",
        ),
    ],
)  # fmt: skip
def test_what_steers_a_checkpoint_says_whose(
    shapes: Shapes, kind: Kind, family: Family, variant: str, tmp_path: Path
) -> None:
    found = identify_control(write_header(tmp_path / "x.safetensors", shapes))
    assert (found.kind, found.family, found.variant) == (kind, family, variant)


def test_a_folder_of_a_controlnet(tmp_path: Path) -> None:
    folder = tmp_path / "canny"
    write_header(folder / "diffusion_pytorch_model.safetensors", CASES["diffusers' controlnet"][1])
    found = identify_control(folder)
    assert (found.kind, found.weights) == (Kind.CONTROLNET, ("diffusion_pytorch_model.safetensors",))
    with pytest.raises(BadFile, match=r"no \.safetensors file in the folder"):
        identify_control(tmp_path)


@pytest.mark.parametrize(
    ("shapes", "kind", "encoder"),
    [
        (clip(768), Kind.TEXT_ENCODER, "CLIP-L"),
        (clip(1280), Kind.TEXT_ENCODER, "CLIP-G"),
        ({"shared.weight": (32128, 4096), "encoder.block.0.x": (1,)}, Kind.TEXT_ENCODER, "T5-XXL"),
        ({"model.embed_tokens.weight": (152064, 3584)}, Kind.TEXT_ENCODER, "Qwen2.5-VL 7B"),
        ({"vision_model.x": (1,)}, Kind.IMAGE_ENCODER, ""),
    ],
)
def test_which_encoder_it_is(shapes: Shapes, kind: Kind, encoder: str, tmp_path: Path) -> None:
    found = identify_encoder(write_header(tmp_path / "x.safetensors", shapes))
    assert (found.kind, found.variant) == (kind, encoder)


def test_other_files_among_encoders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="a VAE, not a text encoder") as caught:
        identify_encoder(write_header(tmp_path / "x.safetensors", CASES["vae"][1]))
    assert caught.value.field == "text_encoder"
