"""What is done when memory runs out in the midst of a picture, so that nothing of it is lost.

A network's call depends on what it is given alone. So the call that found no room is made again, after each of these
until it goes through: other models and the parts of this one that do not compute leave the device; its rows go through
one part after the other; the network comes to the device layer by layer. Latents and the sampler's state stay as they
are, and the picture becomes what it would have been.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import TypeVar

import torch
from torch import Tensor

from webui.engine.condition import Condition
from webui.engine.denoise import DenoiseGiven
from webui.weights.memory import Resident, drop_what_it_held, is_out_of_memory

Result = TypeVar("Result")


def compute_patiently(model: Resident, compute: Callable[[], Result]) -> Result:
    """Return the outcome of `compute`, called again as long as memory runs out and `model` can be more sparing."""
    while True:
        try:
            return compute()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            drop_what_it_held(error)
            if not model.save_memory():
                raise


def denoise_patiently(denoise: DenoiseGiven, model: Resident) -> DenoiseGiven:
    """Return `denoise`, by a network of `model`, that takes smaller parts of a batch where the whole has no room."""
    most: int | None = None  # rows in one call

    def patient(latents: Tensor, sigma: float, condition: Condition) -> Tensor:
        nonlocal most
        while True:
            try:
                return _in_parts(denoise, latents, sigma, condition, most or len(latents))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                drop_what_it_held(error)
                rows = min(most or len(latents), len(latents))
                if model.save_memory(lowest="medvram"):
                    continue
                if rows > 1:
                    most = -(-rows // 2)
                    model.note(f"the network sees {most} of {len(latents)} pictures at a time")
                elif not model.save_memory():
                    raise

    return patient


def _in_parts(denoise: DenoiseGiven, latents: Tensor, sigma: float, condition: Condition, most: int) -> Tensor:
    if len(latents) <= most:
        return denoise(latents, sigma, condition)
    starts = range(0, len(latents), most)
    parts = (slice(start, start + most) for start in starts)
    return torch.cat([denoise(latents[part], sigma, _rows(condition, part)) for part in parts])


def _rows(condition: Condition, part: slice) -> Condition:
    """Return a part of a batch's condition."""
    held = {field.name: getattr(condition, field.name) for field in fields(condition)}
    return replace(
        condition, **{name: value[part] for name, value in held.items() if isinstance(value, (Tensor, tuple))}
    )
