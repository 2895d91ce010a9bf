"""What a checkpoint in one file is, told from the names and shapes in its header: the original layout."""

from __future__ import annotations

from pathlib import Path

from webui.domain.models import Kind
from webui.weights import families
from webui.weights.checkpoint import Checkpoint
from webui.weights.families.bare_unets import find_bare_unet
from webui.weights.formats.headers import Header, bad_model, read_header
from webui.weights.recognition.kinds import refuse_other_kind, tell_kind

# Checkpoints of families that are not supported. The first that matches names the file.
_CHECKPOINTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "SD2 unCLIP checkpoints are not supported: they are told about a picture instead of a text",
        ("noise_augmentor.", "embedder.model."),
    ),
)
_MADE_ALIKE = (Kind.LORA, Kind.CONTROLNET, Kind.IP_ADAPTER)
"""Kinds whose tensors have names of a checkpoint's in them."""


def identify_single_file(path: Path) -> Checkpoint:
    """Return what a checkpoint in one file is made of; raise `BadFile` with one sentence on what is wrong with it."""
    header = read_header(path)
    if tell_kind(header) in _MADE_ALIKE:
        refuse_other_kind(path, header, Kind.CHECKPOINT, field="model")
    _refuse(path, header, _CHECKPOINTS)
    for files in families.ALL:
        found = files.single_file(path, header)
        if found is not None:
            return found
    refuse_other_kind(path, header, Kind.CHECKPOINT, field="model")
    if find_bare_unet(header) is not None:
        raise bad_model(path, "a UNet alone, and not of SD1 or SDXL", "Choose a complete checkpoint.")
    raise bad_model(path, "not a checkpoint of a known kind")


def _refuse(path: Path, header: Header, signs: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
    for sentence, prefixes in signs:
        if any(name.startswith(prefixes) for name in header):
            raise bad_model(path, sentence)
