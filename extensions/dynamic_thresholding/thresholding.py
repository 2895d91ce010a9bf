"""Dynamic thresholding in latents: a strong guidance is brought to the spread that a weaker one would have.

After Saharia et al. 2022, arXiv:2205.11487, section 2.3, who clamp pixels; "CFG Scale Fix" (Goodwin 2023,
github.com/mcmonkeyprojects/sd-dynamic-thresholding) took it to latents and gave it these options.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from extensions.dynamic_thresholding.options import DynamicThresholding, Mode
from webui.extending.computing import Combine, Guiding, Run

_TINY = 1e-12  # a spread of nothing is divided by this


def mimic_weaker_guidance(default: Combine, run: Run) -> Combine:
    """Return how predictions are combined: as `default` does at the CFG scale, with the spread it has at the mimic
    scale. Where there is no guidance nothing is changed."""
    options = DynamicThresholding.model_validate(run.facts)
    last = max(len(run.sigmas) - 2, 1)

    def combine(guiding: Guiding) -> Tensor:
        if guiding.negative is None or guiding.scale == 1:
            return default(guiding)
        share = run.step_at(guiding.sigma) / last
        strong = scale_at(guiding.scale, options.cfg_mode, options.cfg_scale_min, options.sched_val, share)
        weak = scale_at(options.mimic_scale, options.mimic_mode, options.mimic_scale_min, options.sched_val, share)
        guided = default(dataclasses.replace(guiding, scale=strong))
        mimicked = default(dataclasses.replace(guiding, scale=weak))
        return limit_spread(guided, mimicked, options)

    return combine


def scale_at(scale: float, mode: Mode, least: float, value: float, share: float) -> float:
    """Return a scale when `share` of the steps (0 at the first, 1 at the last) is done; it does not fall below `least`.

    The shapes are those of CFG Scale Fix, whose half cosines end at cos(1).
    """
    repeated = (share * value) % 1.0
    factors = {
        "Constant": 1.0,
        "Linear Down": 1 - share,
        "Cosine Down": math.cos(share * math.pi / 2),
        "Half Cosine Down": math.cos(share),
        "Linear Up": share,
        "Cosine Up": 1 - math.cos(share * math.pi / 2),
        "Half Cosine Up": 1 - math.cos(share),
        "Power Up": math.pow(share, value),
        "Power Down": 1 - math.pow(share, value),
        "Linear Repeating": abs(1 - 2 * repeated),
        "Cosine Repeating": math.cos(share * 2 * math.pi * value) / 2 + 0.5,
        "Sawtooth": repeated,
    }
    return least + (scale - least) * factors[mode]


def limit_spread(guided: Tensor, mimicked: Tensor, options: DynamicThresholding) -> Tensor:
    """Return `guided` [B,C,h,w] with the spread of `mimicked`, image by image.

    Spread is the largest distance from each channel's mean ("AD"; of `guided` the percentile of the options) or the
    standard deviation ("STD"), of each channel or of all together. From "MEAN", distances beyond it are clamped and
    all are scaled; from "ZERO", the values themselves are scaled.
    """
    rest = 2 if options.separate_feature_channels else 1
    means = guided.mean((2, 3), keepdim=True)
    centred = guided - means
    narrow = _spread(mimicked - mimicked.mean((2, 3), keepdim=True), 1.0, rest, options)
    wide = _spread(centred, options.threshold_percentile / 100, rest, options)
    if options.scaling_startpoint == "ZERO":
        limited = guided * (narrow / wide.clamp(min=_TINY))
    elif options.variability_measure == "STD":
        limited = means + centred * (narrow / wide.clamp(min=_TINY))
    else:
        most = torch.maximum(narrow, wide).clamp(min=_TINY)
        limited = means + torch.clamp(centred, -most, most) * (narrow / most)
    phi = options.interpolate_phi
    return limited if phi == 1 else limited * phi + guided * (1 - phi)


def _spread(centred: Tensor, percentile: float, rest: int, options: DynamicThresholding) -> Tensor:
    """Return the spread of `centred` [B,C,h,w] as [B,C,1,1], or [B,1,1,1] of all channels together (`rest` 1)."""
    flat = centred.flatten(rest)
    if options.variability_measure == "STD":
        spread = flat.std(-1)
    elif percentile == 1:
        spread = flat.abs().amax(-1)
    else:
        spread = torch.quantile(flat.abs(), percentile, dim=-1)
    return spread.reshape(*spread.shape, *[1] * (4 - spread.dim()))
