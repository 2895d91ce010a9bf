"""What can be set about sampling besides sampler, schedule and steps. Blanks are filled from the settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webui.domain.frozen import Data

MAX_SEED = 2**53 - 1  # the largest integer that JSON readers and browsers keep exactly

Source = Literal["CPU", "GPU", "NV"]
"""Who draws noise: the CPU (the same on every machine), the device that computes, or the CPU as Nvidia's GPUs do."""

Share = Annotated[float, Field(ge=0, le=1)]
SeedResize = Annotated[int, Field(ge=64, le=4096)]


class Variation(Data):
    """Noise on the way from the seed's to another seed's, and noise that keeps its place when the size changes.

    `strength` 0 is the seed's own noise, 1 the other one's; above 0 all images of a job share the seed and their
    variation seeds count up. Seed -1 means any. With `resize_from_…` the noise is that of an image of that size, put
    into the middle.
    """

    seed: Annotated[int, Field(ge=-1, le=MAX_SEED)] = -1
    strength: Share = 0.0
    resize_from_width: SeedResize | None = None
    resize_from_height: SeedResize | None = None


class SamplingOptions(Data):
    """Options of samplers and schedules; those that a sampler does not know are passed over. None: as in the settings.

    0 means the usual for `tmax` (no limit), `sigma_min`, `sigma_max` (the model's) and `rho` (the schedule's).
    """

    eta: Annotated[float, Field(ge=0, le=1)] | None = None
    churn: Annotated[float, Field(ge=0, le=100)] | None = None
    tmin: Annotated[float, Field(ge=0, le=1000)] | None = None
    tmax: Annotated[float, Field(ge=0, le=1000)] | None = None
    noise: Annotated[float, Field(ge=0, le=2)] | None = None
    sigma_min: Annotated[float, Field(ge=0, le=2)] | None = None
    sigma_max: Annotated[float, Field(ge=0, le=60)] | None = None
    rho: Annotated[float, Field(ge=0, le=20)] | None = None
    beta_alpha: Annotated[float, Field(ge=0.01, le=5)] | None = None
    beta_beta: Annotated[float, Field(ge=0.01, le=5)] | None = None
    discard_penultimate: bool | None = None
    noise_source: Source | None = None
    seed_delta: Annotated[int, Field(ge=-MAX_SEED, le=MAX_SEED)] | None = None
