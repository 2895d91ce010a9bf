"""Why a parameter of another program cannot be asked for here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

INFORMATION = frozenset(
    {
        "Template",
        "Negative Template",
        "Model",  # read as a whole with its hash
        "Model hash",
        "VAE hash",
        "Version",
        "User",
        "App",
        "Created Date",
        "Lora hashes",  # the prompt names them
        "TI hashes",
        "Hashes",
        "Civitai resources",
        "Civitai metadata",
        "Batch size",  # every image has a seed of its own
        "Batch pos",
        "Init image hash",
        "Init image size",
        "Pipeline",
        "Operations",
        "Backend",
        "Size-1",
        "Size-2",
    }
)
"""Parameters that change nothing, or are read together with another one."""

_UNUSUAL = "not used here"
_PICTURE = "a setting of img2img here: set it there"
_EXTENSION = "made by an extension that is not here"

_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "Face restoration": "faces are not restored here",
        "Hypernet": "write <hypernet:name:strength> into the prompt",
        "Hypernet strength": "write <hypernet:name:strength> into the prompt",
        "Conditional mask weight": _PICTURE,
        "Noise multiplier": _PICTURE,
        "Extra noise": _PICTURE,
        "Token merging ratio": "tokens are never merged here",
        "Token merging ratio hr": "tokens are never merged here",
        "NGMS all steps": "below that sigma, guidance is left out in every second step only",
        "Noise Schedule": "the model's own noise levels are used",
        "SGM noise multiplier": "noise is always scaled to the first noise level",
        "FP8 weight": "a setting of this program, not of a picture",
        "Cache FP16 weight for LoRA": "the precision of weights is chosen when the program starts",
        "Downcast alphas_cumprod": "noise levels are always computed exactly",
        "Pad conds": "prompts of different lengths need no padding here",
        "Pad conds v0": "prompts of different lengths need no padding here",
        "VAE Encoder": "a setting here, VAE type for encode: set it there",
        "VAE Decoder": "a setting here, VAE type for decode: set it there",
        "Refiner switch by sampling steps": "the refiner always takes over at a share of the steps",
        "Hires Distilled CFG Scale": "both passes have the same distilled CFG scale here",
        "Shift": "no model of this kind can be used here",
        "Hires Shift": "no model of this kind can be used here",
        "Diffusion in Low Bits": "the precision of weights is chosen when the program starts",
        "Script": "what a script made is asked for with that script",
        "Fixed X Values": "what a script made is asked for with that script",
        "Fixed Y Values": "what a script made is asked for with that script",
        "Fixed Z Values": "what a script made is asked for with that script",
        "Sharpness": "a filter of Fooocus that is not here",
        "ADM Guidance": "a method of Fooocus that is not here",
    }
)

_PREFIXES: tuple[tuple[str, str], ...] = (
    ("Postprocess ", "done to the finished picture, see Extras"),
    ("ControlNet", "ControlNet cannot be used here"),
    ("UniPC ", "UniPC always has its usual form here"),
    ("X ", "what a script made is asked for with that script"),
    ("Y ", "what a script made is asked for with that script"),
    ("Z ", "what a script made is asked for with that script"),
    ("Hires Module ", "both passes have the same text encoders here"),
    ("Soft inpainting ", "soft inpainting has no options here"),
    ("ADetailer ", _EXTENSION),
    ("Ultimate SD upscale ", _EXTENSION),
    ("Tiled Diffusion", _EXTENSION),
    ("Dynamic thresholding", _EXTENSION),
    ("RP ", _EXTENSION),
    ("AddNet ", _EXTENSION),
    ("freeu_", _EXTENSION),
    ("sag_", _EXTENSION),
)


def why_unmapped(key: str) -> str:
    """Return why the parameter `key` has no place in a request."""
    if key in _REASONS:
        return _REASONS[key]
    return next((reason for prefix, reason in _PREFIXES if key.startswith(prefix)), _UNUSUAL)
