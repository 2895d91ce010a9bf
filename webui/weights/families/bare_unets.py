"""UNets of SD1 and SDXL in files of their own, as GGUF files have them: VAE and text encoders come from other files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from webui.domain.models import PartSlot
from webui.weights.checkpoint import Part
from webui.weights.families.parts import find_prefix
from webui.weights.families.unets import UNET_PLACE
from webui.weights.headers import Header
from webui.weights.shapes import Shapes, part_of_header

CLIP_L = 768  # numbers that it gives for each token
POOLED = 1280  # numbers that CLIP-G gives for a text as a whole
_OTHER_PARTS = ("first_stage_model.", "cond_stage_model.", "conditioner.")


def find_bare_unet(header: Header) -> tuple[str, Shapes] | None:
    """Return what the names of a UNet without VAE and text encoders begin with, and its shapes; None if it is none."""
    prefix = find_prefix(header, UNET_PLACE.mark)
    if prefix is None or any(name.startswith(_OTHER_PARTS) for name in header):
        return None
    return prefix, part_of_header(header, prefix)


def make_unet(path: Path, config: dict[str, Any], prefix: str) -> dict[str, Part]:
    """Return the only part of such a file."""
    return {"unet": Part(UNET_PLACE.network, config, (path,), UNET_PLACE.layout, prefix)}


def vae_slot() -> PartSlot:
    """Return the place of a VAE for latents of four channels."""
    return PartSlot(component="vae", role="vae", width=4, words="VAE")


def scale_vae(vae: Part, scale: float) -> Part:
    """Return a VAE whose latents are scaled so before the UNet sees them."""
    return replace(vae, config={**vae.config, "scaling_factor": scale})
