"""What a file in the wrong folder is, so that the message can say where it belongs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from webui.domain.models import Kind
from webui.errors import BadFile

# The first that matches names the file. A checkpoint holds a VAE and a text encoder too, so it comes first.
_SIGNS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("a checkpoint", "models/Stable-diffusion", ("model.diffusion_model.", "cond_stage_model.", "double_blocks.")),
    ("a LoRA", "models/Lora", ("lora_unet_", "lora_te", "lora_transformer_")),
    ("a ControlNet", "models/ControlNet", ("control_model.", "controlnet_")),
    ("a textual inversion", "embeddings", ("emb_params", "string_to_param")),
    ("a text encoder", "models/text_encoder", ("text_model.", "encoder.block.")),
    ("a VAE", "models/VAE", ("first_stage_model.", "encoder.conv_in.", "decoder.conv_in.")),
    ("an upscaler", "models/ESRGAN", ("conv_first.", "params_ema.", "params.", "model.1.sub.", "swin2sr.", "body.0.")),
)
_WORDS = {Kind.CHECKPOINT: "a checkpoint", Kind.VAE: "a VAE", Kind.UPSCALER: "an upscaler"}


def refuse_other_kind(path: Path, names: Iterable[str], kind: Kind) -> None:
    """Raise `BadFile` when the tensors' names show a model of another kind than `kind`."""
    present = list(names)
    for words, home, prefixes in _SIGNS:
        if any(name.startswith(prefixes) for name in present):
            if words == _WORDS[kind]:
                return
            raise BadFile(f"{path.name}: this is {words}, not {_WORDS[kind]}; it belongs into {home}.")
