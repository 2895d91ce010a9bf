"""What a ControlNet, T2I-Adapter or IP-Adapter file is, and for which family, told from names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from webui.domain.models import Kind
from webui.errors import BadFile
from webui.weights.catalog.model_facts import ModelFacts
from webui.weights.formats.headers import Header
from webui.weights.formats.metadata import THUMBNAIL, read_metadata, told_card, told_details
from webui.weights.recognition.kinds import named_weights, refuse_other_kind, tell_kind
from webui.weights.recognition.lora_files import family_named, read_any, said_base

_KINDS = (Kind.CONTROLNET, Kind.T2I_ADAPTER, Kind.IP_ADAPTER)
_CROSS = re.compile(r".*attn2\.to_k\.(weight|down|lora_down\.weight)$")
_CROSS_WIDTHS: Mapping[int, str] = {768: "sd1", 1024: "sd2", 2048: "sdxl", 1280: "sdxl_refiner", 4096: "kolors"}
_IP_KEYS = re.compile(r".*to_k_ip\.weight$")
_WIDTHS: Mapping[int, str] = {
    1536: "sd3",
    2432: "sd3",
    3072: "flux",
    2304: "lumina2",
    3840: "z_image",
    1408: "hunyuan_dit",
}
"""Width of a transformer's tokens → the family."""
_QWEN_NAMES = ("img_mlp", "img_mod", "txt_mlp")
_UNSHUFFLED: Mapping[int, str] = {64: "sd1", 192: "sd1", 256: "sdxl", 768: "sdxl"}
"""Numbers that go into a T2I-Adapter: 1 or 3 of a picture's, times the 8×8 or 16×16 of them that one place takes in."""


def identify_control(path: Path) -> ModelFacts:
    """Return what the file or folder is; raise `BadFile` if it is none of the kinds that steer a checkpoint."""
    file, header = read_any(path, "controlnet")
    kind = tell_kind(header)
    if kind not in _KINDS:
        refuse_other_kind(path, header, *_KINDS, field="controlnet")
        raise BadFile(f"{path.name}: it holds no ControlNet of a known layout.", field="controlnet")
    tell = {Kind.CONTROLNET: _tell_controlnet, Kind.T2I_ADAPTER: _tell_adapter, Kind.IP_ADAPTER: _tell_ip_adapter}[kind]
    metadata = read_metadata(file)
    return ModelFacts(
        kind=kind,
        family=family_named(tell(header) or said_base(metadata)),
        variant=_variant(header),
        weights=tuple(each.name for each in named_weights(path)) if path.is_dir() else (),
        told=told_card(metadata),
        details=told_details(metadata),
        has_thumbnail=THUMBNAIL in metadata,
    )


def _variant(header: Header) -> str:
    """Return how the file is made, where that is not the usual way."""
    if any(name.startswith("lora_controlnet") for name in header):
        return "control-lora"
    if any(name.startswith("lllite_") for name in header):
        return "lllite"
    if any(
        name.startswith(("control_add_embedding.", "controlnet_mode_embedder.", "task_embedding")) for name in header
    ):
        return "union"
    if any("to_q_lora" in name or "to_k_lora" in name for name in header):
        return "face-id"
    return ""


def _tell_controlnet(header: Header) -> str:
    if any(name.startswith("lllite_") for name in header):
        return "sdxl"  # kohya-ss/sd-scripts trains them for no other
    cross = next((facts.shape[1] for name, facts in header.items() if _CROSS.match(name) and len(facts.shape) == 2), 0)
    if cross:
        return _CROSS_WIDTHS.get(cross, "")
    if any(part in name for name in header for part in _QWEN_NAMES):
        return "qwen_image"
    if any(name.startswith(("double_blocks.", "single_blocks.", "single_transformer_blocks.")) for name in header):
        return "flux"
    width = next((facts.shape[0] for name, facts in header.items() if name.startswith("controlnet_blocks.0.")), 0)
    return _WIDTHS.get(width, "")


def _tell_adapter(header: Header) -> str:
    names = ("conv_in.weight", "adapter.conv_in.weight", "body.0.in_conv.weight", "adapter.body.0.in_conv.weight")
    shapes = (header[name].shape for name in names if name in header)
    first = next((shape for shape in shapes if len(shape) == 4), (0, 0))
    return _UNSHUFFLED.get(first[1], "")


def _tell_ip_adapter(header: Header) -> str:
    if any("double_stream" in name or "double_blocks" in name for name in header):
        return "flux"
    widths = [facts.shape[1] for name, facts in header.items() if _IP_KEYS.match(name) and len(facts.shape) == 2]
    return _CROSS_WIDTHS.get(widths[0], "flux" if widths[0] == 3072 else "") if widths else ""
