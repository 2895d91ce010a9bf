"""Which extensions come with the program. A list, because a user's own may lie in the same folder."""

from __future__ import annotations

from typing import Final

BUNDLED: Final = (
    "controlnet",
    "detailer",
    "dynamic_thresholding",
    "free_u",
    "hypernetworks",
    "ip_adapter",
    "lora",
    "loopback",
    "outpainting",
    "perturbed_attention",
    "prompt_matrix",
    "prompts_from_file",
    "regional_prompts",
    "sd_upscale",
    "self_attention_guidance",
    "textual_inversion",
    "xyz_plot",
)
"""Folders in the program's `extensions/`: loaded without a trial, and nothing is installed over them."""
