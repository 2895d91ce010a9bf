"""What extensions may use in the worker, besides torch and its libraries. Import it inside functions that run there."""

from __future__ import annotations

from webui.engine.condition import Condition, Row
from webui.engine.denoise import Denoise, NoiseLevels
from webui.engine.families.flux import pack
from webui.engine.families.patches import fill_up
from webui.engine.guidance import Combine, Guiding
from webui.engine.noise import NoiseSource
from webui.engine.run import ImageRun, Moment, Run
from webui.engine.samplers import Setup, Step
from webui.engine.vae import encode_pixels, to_pixels
from webui.images.canvas import Canvas
from webui.weights.formats.tensors import Weights, read_tensors, read_values
from webui.weights.loading.naming_flux import original_place, rename_flux
from webui.weights.loading.quantised import dequantise, is_quantised
from webui.weights.memory import Resident, fetch
from webui.weights.recognition.unet_names import attending_blocks, original_name

__all__ = [
    "Canvas",
    "Combine",
    "Condition",
    "Denoise",
    "Guiding",
    "ImageRun",
    "Moment",
    "NoiseLevels",
    "NoiseSource",
    "Resident",
    "Row",
    "Run",
    "Setup",
    "Step",
    "Weights",
    "attending_blocks",
    "dequantise",
    "encode_pixels",
    "fetch",
    "fill_up",
    "is_quantised",
    "original_name",
    "original_place",
    "pack",
    "read_tensors",
    "read_values",
    "rename_flux",
    "to_pixels",
]
