"""What happens when a network's numbers overflow: once more in float32, and only what still is broken is given up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import torch

from webui.engine.samplers import Step
from webui.weights.memory import Resident

log = logging.getLogger(__name__)


def sample_twice(find_model: Callable[[], Resident], sample: Callable[[], Iterator[Step]]) -> Iterator[Step]:
    """Yield the steps of `sample()`; when latents of one are no numbers any more, those of a second run in float32.

    `find_model` tells which model the latest step is of. A sampler remembers earlier steps, so the second run begins
    anew. The network stays in float32 from then on. Images that are broken there too go on beside the others, for the
    decoder to refuse; when all are, the run ends.
    """
    steps = sample()
    for step in steps:
        whole = torch.isfinite(step.latents).flatten(1).all(1).tolist()
        if not all(whole) and _precision(find_model()) != torch.float32:
            break
        yield step
        if not any(whole):
            return
    else:
        return
    model = find_model()
    log.warning("The network overflowed in %s; it computes in float32 from now on.", _precision(model))
    del steps, step  # what they hold is needed for the larger weights
    model.recast(model.denoiser, torch.float32)
    del model
    yield from sample_twice(find_model, sample)


def _precision(model: Resident) -> torch.dtype:
    return model.dtype(model.denoiser)
