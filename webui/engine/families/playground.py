"""Playground v2.5: SDXL in latents of its own, every channel brought to one spread around 0.

(Li et al. 2024, arXiv:2402.17245.)
"""

from __future__ import annotations

from collections.abc import Sequence

from webui.engine.families import sdxl
from webui.engine.families.sdxl import SHRINK, encode, latent_shape, make_predict, noise_levels
from webui.weights.checkpoint import Scaling
from webui.weights.families.playground import DEVIATIONS, MEANS, SCALE
from webui.weights.families.sdxl import SCALE as XL_SCALE

__all__ = ["LATENT_TO_RGB", "SHRINK", "encode", "latent_shape", "make_predict", "noise_levels"]

# Latent channel → red, green, blue in -1 … 1: that of SDXL, whose VAE it shares, for latents that spread otherwise.
LATENT_TO_RGB: Sequence[tuple[float, float, float]] = tuple(
    (red * spread, green * spread, blue * spread)
    for (red, green, blue), spread in zip(
        sdxl.LATENT_TO_RGB, (XL_SCALE * deviation / SCALE for deviation in DEVIATIONS), strict=True
    )
)

# SDXL's TAESD knows SDXL's latents, which are the VAE's own times a factor.
TAESD_SCALING: Scaling = {
    "latents_mean": tuple(XL_SCALE * mean for mean in MEANS),
    "latents_std": tuple(XL_SCALE * deviation for deviation in DEVIATIONS),
    "scaling_factor": SCALE,
}
