"""Image encoders: CLIP's view of pictures, as IP-Adapters read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from extensions.ip_adapter.shapes import FIELD, weights_of
from webui.extending.api import BadFile
from webui.extending.computing import read_tensors

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's pictures, per channel, and their spread
SPREAD = (0.26862954, 0.26130258, 0.27577711)
_HEADS: Mapping[int, int] = {768: 12, 1024: 16, 1280: 16, 1664: 16}
"""Width of a state → heads of attention; others have 64 numbers each."""
_QUICK = (768, 1024)  # widths of OpenAI's own encoders, whose activation is an approximation


def load_tower(path: Path) -> CLIPVisionModelWithProjection:
    """Return the image encoder in a file or a folder, float32, on the CPU; `BadFile` for others."""
    tensors = {name: each for name, each in read_tensors(weights_of(path)).items() if not name.endswith("position_ids")}
    try:
        network = CLIPVisionModelWithProjection(_read_config(path, tensors)).float()  # whatever the folder says
        network.load_state_dict({name: each.float() for name, each in tensors.items() if _is_seen(name)})
    except (KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadFile(f"{path.name}: it is no image encoder of CLIP's kind: {reason}.", field=FIELD) from error
    return network.requires_grad_(False).eval()


def _is_seen(name: str) -> bool:
    """Tell whether a tensor belongs to the half of CLIP that sees."""
    return name.startswith(("vision_model.", "visual_projection."))


def _read_config(path: Path, tensors: Mapping[str, Tensor]) -> CLIPVisionConfig:
    """Return the configuration that a folder has, or what the shapes of a single file tell."""
    file = path / "config.json"
    if file.is_file():
        told = json.loads(file.read_text(encoding="utf-8"))
        return CLIPVisionConfig(**told.get("vision_config", told))
    patches = tensors["vision_model.embeddings.patch_embedding.weight"]
    places = tensors["vision_model.embeddings.position_embedding.weight"].shape[0]
    width, patch = patches.shape[0], patches.shape[-1]
    layers = {int(name.split(".")[3]) for name in tensors if name.startswith("vision_model.encoder.layers.")}
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=tensors["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=len(layers),
        num_attention_heads=_HEADS.get(width, max(width // 64, 1)),
        image_size=round((places - 1) ** 0.5) * patch,
        patch_size=patch,
        projection_dim=tensors["visual_projection.weight"].shape[0],
        hidden_act="quick_gelu" if width in _QUICK else "gelu",
    )


def to_pixels(picture: Image.Image, side: int) -> Tensor:
    """Return what the encoder sees of a picture [1,3,side,side]: its middle square, in CLIP's numbers."""
    plain = picture.convert("RGB")
    scale = side / min(plain.size)
    width, height = (max(side, round(length * scale)) for length in plain.size)
    left, top = (width - side) // 2, (height - side) // 2
    seen = plain.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))
    pixels = torch.from_numpy(np.asarray(seen, dtype=np.float32) / 255)
    return ((pixels - torch.tensor(MEAN)) / torch.tensor(SPREAD)).permute(2, 0, 1).unsqueeze(0)


def look(tower: Any, pixels: Tensor, states: bool) -> Tensor:
    """Return the view [n,P] of whole pictures [n,3,S,S], or with `states` the last layer's but one [n,T,D]."""
    if states:
        return tower(pixels, output_hidden_states=True).hidden_states[-2]
    return tower(pixels).image_embeds
