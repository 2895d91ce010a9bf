"""What a checkpoint in one file is, told from the names and shapes in its header: the original layout."""

from __future__ import annotations

from pathlib import Path

from webui.weights import families
from webui.weights.checkpoint import Checkpoint
from webui.weights.headers import Header, bad_model, read_header

# Checkpoints of families that are not supported. The first that matches names the file.
_CHECKPOINTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "SD2 unCLIP checkpoints are not supported: they are told about a picture instead of a text",
        ("noise_augmentor.", "embedder.model."),
    ),
)
# What is no checkpoint at all. They are looked for only once no family knows the file.
_OTHER_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("this is a LoRA, not a checkpoint; it belongs into models/Lora", ("lora_unet_", "lora_te", "lora_transformer_")),
    ("this is a ControlNet, not a checkpoint; it belongs into models/ControlNet", ("control_model.", "controlnet_")),
    ("this is a textual inversion, not a checkpoint; it belongs into embeddings", ("emb_params", "string_to_param")),
    ("this is a text encoder, not a checkpoint", ("text_model.", "encoder.block.")),
    ("this is a VAE, not a checkpoint; it belongs into models/VAE", ("encoder.conv_in.", "decoder.conv_in.")),
    ("this is a UNet without VAE and text encoder", ("input_blocks.", "down_blocks.")),
)


def identify_single_file(path: Path) -> Checkpoint:
    """Return what a checkpoint in one file is made of; raise `BadFile` with one sentence on what is wrong with it."""
    header = read_header(path)
    _refuse(path, header, _CHECKPOINTS)
    for files in families.ALL:
        found = files.single_file(path, header)
        if found is not None:
            return found
    _refuse(path, header, _OTHER_KINDS)
    raise bad_model(path, "not a checkpoint of a known kind")


def _refuse(path: Path, header: Header, signs: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
    for sentence, prefixes in signs:
        if any(name.startswith(prefixes) for name in header):
            raise bad_model(path, sentence)
