"""From noise to latents: one generator per algorithm, which yields after each step and ends when it is closed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from webui.engine.denoise import NoiseLevels
from webui.engine.samplers import dpm, euler, multistep, sde
from webui.engine.samplers.step import Sample, Setup, Step
from webui.errors import NotFound

__all__ = ["SAMPLERS", "Sample", "Sampler", "Setup", "Step", "find"]


@dataclass(frozen=True)
class Sampler:
    """An algorithm and what it asks of its surroundings.

    It starts from noise · sigma, or from noise of the variance that trained latents have. `levels` may change the noise
    levels it works on. `guidance_share` is what it makes of the guidance.
    """

    sample: Sample
    starts_at_unit_variance: bool = False
    levels: Callable[[NoiseLevels], NoiseLevels] = lambda levels: levels
    guidance_share: float = 1.0

    def start(self, noise: Tensor, sigma: float) -> Tensor:
        """Return the latents of pure `noise` at the first noise level."""
        return noise * (math.sqrt(sigma**2 + 1) if self.starts_at_unit_variance else sigma)


SAMPLERS: Mapping[str, Sampler] = MappingProxyType(
    {
        "DPM++ 2M": Sampler(multistep.dpmpp_2m),
        "DPM++ SDE": Sampler(sde.dpmpp_sde),
        "DPM++ 2M SDE": Sampler(sde.dpmpp_2m_sde),
        "DPM++ 2M SDE Heun": Sampler(sde.dpmpp_2m_sde_heun),
        "DPM++ 2S a": Sampler(dpm.dpmpp_2s_ancestral),
        "DPM++ 3M SDE": Sampler(sde.dpmpp_3m_sde),
        "Euler a": Sampler(euler.euler_ancestral),
        "Euler": Sampler(euler.euler),
        "LMS": Sampler(multistep.lms),
        "Heun": Sampler(euler.heun),
        "DPM2": Sampler(dpm.dpm_2),
        "DPM2 a": Sampler(dpm.dpm_2_ancestral),
        "DPM fast": Sampler(dpm.dpm_fast),
        "DPM adaptive": Sampler(dpm.dpm_adaptive),
        "Restart": Sampler(euler.restart),
        "DDIM": Sampler(euler.ddim, starts_at_unit_variance=True),
        "DDIM CFG++": Sampler(euler.ddim_cfgpp, starts_at_unit_variance=True, guidance_share=1 / 12.5),
        "PLMS": Sampler(multistep.plms, starts_at_unit_variance=True),
        "UniPC": Sampler(multistep.unipc, starts_at_unit_variance=True),
        "LCM": Sampler(euler.lcm, levels=NoiseLevels.distilled),
        "TCD": Sampler(euler.tcd),
        "DDPM": Sampler(euler.ddpm, starts_at_unit_variance=True),
        "DEIS": Sampler(multistep.deis),
        "IPNDM": Sampler(multistep.ipndm),
        "ER-SDE": Sampler(sde.er_sde),
    }
)


def find(name: str) -> Sampler:
    """Return the sampler of a plan; raise `NotFound` when the engine has none of that name."""
    if name not in SAMPLERS:
        raise NotFound(f"Sampler not found: {name!r}.", field="sampler")
    return SAMPLERS[name]
