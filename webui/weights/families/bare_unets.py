"""UNets of SD1 and SDXL in files of their own, as GGUF files have them: VAE and text encoders come from other files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from webui.domain.models import PartSlot
from webui.weights.checkpoint import Part
from webui.weights.families.parts import find_prefix
from webui.weights.families.unets import UNET_PLACE
from webui.weights.formats.headers import Header
from webui.weights.recognition.shapes import Shapes, count, part_of_header
from webui.weights.recognition.unet_names import attending_blocks, original_name

CLIP_L = 768  # numbers that it gives for each token
POOLED = 1280  # numbers that CLIP-G gives for a text as a whole
_DIFFUSERS_MARK = "down_blocks.0.resnets.0.conv1.weight"
_OTHER_PARTS = ("first_stage_model.", "cond_stage_model.", "conditioner.")


@dataclass(frozen=True)
class BareUnet:
    """What the names of a UNet in a file begin with, whose names they are ("original" or "diffusers"), and its shapes
    under the original ones; `guided` is how many numbers it is told about its guidance, 0 for nearly all."""

    prefix: str
    layout: str
    shapes: Shapes
    guided: int = 0

    def part(self, path: Path, config: Mapping[str, Any]) -> dict[str, Part]:
        """Return the only part of such a file."""
        told = {"time_cond_proj_dim": self.guided} if self.guided else {}
        return {"unet": Part(UNET_PLACE.network, {**config, **told}, (path,), self.layout, self.prefix)}


def find_bare_unet(header: Header) -> BareUnet | None:
    """Return the UNet of a file without VAE and text encoders; None if it has no such."""
    if any(name.startswith(_OTHER_PARTS) for name in header):
        return None
    prefix = find_prefix(header, UNET_PLACE.mark)
    if prefix is not None:
        return BareUnet(prefix, UNET_PLACE.layout, part_of_header(header, prefix))
    prefix = find_prefix(header, _DIFFUSERS_MARK)
    if prefix is None or f"{prefix}conv_out.weight" not in header:  # a ControlNet has no way up
        return None
    try:
        return _read_diffusers_names(prefix, part_of_header(header, prefix))
    except (ValueError, IndexError):  # numbers in names or shapes that no network has
        return None


def _read_diffusers_names(prefix: str, shapes: Shapes) -> BareUnet:
    layers = count(shapes, r"down_blocks\.0\.resnets\.(\d+)\.")
    attending = attending_blocks(shapes)
    named = {original_name(name, layers, attending): shape for name, shape in shapes.items()}
    guided = shapes.get("time_embedding.cond_proj.weight", (0, 0))[-1]
    return BareUnet(prefix, "diffusers", {name: shape for name, shape in named.items() if name}, guided)


def vae_slot() -> PartSlot:
    """Return the place of a VAE for latents of four channels."""
    return PartSlot(component="vae", role="vae", width=4, words="VAE")


def scale_vae(vae: Part, scale: float) -> Part:
    """Return a VAE whose latents are scaled so before the UNet sees them."""
    return replace(vae, config={**vae.config, "scaling_factor": scale})
