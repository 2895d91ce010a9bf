"""Parts that may stand in a checkpoint's own file or in files of their own: VAE, CLIP, T5."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from webui.domain.models import PartSlot
from webui.weights.checkpoint import Part
from webui.weights.families.checks import check_size
from webui.weights.formats.headers import Header, bad_model
from webui.weights.recognition.shapes import describe_vae, part_of_header
from webui.weights.recognition.text_files import find_text_encoder

TRANSFORMERS = ("model.diffusion_model.", "diffusion_model.", "transformer.", "")
"""What the names of a transformer's tensors begin with, in a checkpoint or a file of its own."""

_VAES = ("vae.", "first_stage_model.")
_TEXTS = {"CLIP-L": "clip_l", "CLIP-G": "clip_g", "T5-XXL": "t5xxl"}  # by what users call them

Fit = Callable[[PartSlot, Part], Part]
"""Makes the part of a slot, as its family needs it, from one that was found."""


def find_prefix(header: Header, mark: str) -> str | None:
    """Return what the names of a transformer's tensors begin with, of which `mark` is one; None when it has none."""
    return next((prefix for prefix in TRANSFORMERS if f"{prefix}{mark}" in header), None)


def read_parts(path: Path, header: Header, transformer: Part, slots: Iterable[PartSlot], fit: Fit) -> dict[str, Part]:
    """Return the parts of a checkpoint's file, by component: its `transformer`, and what it holds besides."""
    check_size(path, "transformer", transformer.config)
    return {"transformer": transformer, **find_parts(path, header, slots, fit)}


def find_parts(path: Path, header: Header, slots: Iterable[PartSlot], fit: Fit) -> dict[str, Part]:
    """Return the parts that a checkpoint's file holds besides its transformer, by component."""
    parts: dict[str, Part] = {}
    for slot in slots:
        try:
            found = _find_vae(path, header) if slot.role == "vae" else _find_text(path, header, slot)
        except (KeyError, IndexError, ValueError) as error:
            raise bad_model(path, f"its {slot.words} is damaged: it lacks {error}") from error
        if found is not None:
            parts[slot.component] = fit(slot, found)
            check_size(path, slot.component, found.config)
    return parts


def _find_vae(path: Path, header: Header) -> Part | None:
    prefix = next((prefix for prefix in _VAES if f"{prefix}decoder.conv_in.weight" in header), None)
    if prefix is None:
        return None
    return Part("AutoencoderKL", describe_vae(part_of_header(header, prefix)), (path,), "original", prefix)


def _find_text(path: Path, header: Header, slot: PartSlot) -> Part | None:
    found = find_text_encoder(path, header, (f"text_encoders.{_TEXTS[slot.words]}.transformer.",))
    return None if found is None else found.part


def scaled(vae: Part, scale: float, shift: float) -> Part:
    """Return a VAE's part whose latents are shifted and scaled so before networks see them."""
    return replace(vae, config={**vae.config, "scaling_factor": scale, "shift_factor": shift})
