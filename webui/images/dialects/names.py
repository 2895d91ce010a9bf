"""Samplers and schedules of other programs → ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

COMFY_SAMPLERS: Mapping[str, str] = MappingProxyType(
    {
        "euler": "Euler",
        "euler_ancestral": "Euler a",
        "heun": "Heun",
        "dpm_2": "DPM2",
        "dpm_2_ancestral": "DPM2 a",
        "lms": "LMS",
        "dpm_fast": "DPM fast",
        "dpm_adaptive": "DPM adaptive",
        "dpmpp_2s_ancestral": "DPM++ 2S a",
        "dpmpp_sde": "DPM++ SDE",
        "dpmpp_2m": "DPM++ 2M",
        "dpmpp_2m_sde": "DPM++ 2M SDE",
        "dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun",
        "dpmpp_3m_sde": "DPM++ 3M SDE",
        "ddpm": "DDPM",
        "ddim": "DDIM",
        "lcm": "LCM",
        "tcd": "TCD",
        "restart": "Restart",
        "ipndm": "IPNDM",
        "deis": "DEIS",
        "er_sde": "ER-SDE",
        "uni_pc": "UniPC",
    }
)
"""ComfyUI's and Fooocus's names; those with `_gpu` are the same with noise from the GPU."""

COMFY_SCHEDULES: Mapping[str, str] = MappingProxyType(
    {
        "normal": "Normal",
        "karras": "Karras",
        "exponential": "Exponential",
        "sgm_uniform": "SGM Uniform",
        "simple": "Simple",
        "ddim_uniform": "DDIM",
        "beta": "Beta",
        "kl_optimal": "KL Optimal",
        "align_your_steps": "Align Your Steps",
        "turbo": "Turbo",
    }
)

DIFFUSERS_SAMPLERS: Mapping[str, str] = MappingProxyType(
    {
        "ddim": "DDIM",
        "ddpm": "DDPM",
        "deis": "DEIS",
        "lms": "LMS",
        "pndm": "PLMS",
        "plms": "PLMS",
        "heun": "Heun",
        "euler": "Euler",
        "euler_a": "Euler a",
        "euler_ancestral": "Euler a",
        "kdpm_2": "DPM2",
        "kdpm_2_a": "DPM2 a",
        "dpm_2": "DPM2",
        "dpm_2_a": "DPM2 a",
        "dpm2": "DPM2",
        "dpm2_a": "DPM2 a",
        "dpmpp_2s": "DPM++ 2S a",
        "dpmpp_2m": "DPM++ 2M",
        "dpmpp_2m_sde": "DPM++ 2M SDE",
        "dpmpp_sde": "DPM++ SDE",
        "er_sde": "ER-SDE",
        "unipc": "UniPC",
        "unipc_snr": "UniPC",
        "lcm": "LCM",
        "tcd": "TCD",
    }
)
"""InvokeAI's and Easy Diffusion's names; those that end with `_k` or `_karras` have Karras's schedule."""

NOVELAI_SAMPLERS: Mapping[str, str] = MappingProxyType(
    {
        "k_lms": "LMS",
        "k_euler": "Euler",
        "k_euler_ancestral": "Euler a",
        "k_heun": "Heun",
        "k_dpm_2": "DPM2",
        "k_dpm_2_ancestral": "DPM2 a",
        "k_dpm_adaptive": "DPM adaptive",
        "k_dpm_fast": "DPM fast",
        "k_dpmpp_2m": "DPM++ 2M",
        "k_dpmpp_2m_sde": "DPM++ 2M SDE",
        "k_dpmpp_2s_ancestral": "DPM++ 2S a",
        "k_dpmpp_sde": "DPM++ SDE",
        "ddim": "DDIM",
        "ddim_v3": "DDIM",
        "plms": "PLMS",
    }
)


def comfy_sampler(name: str) -> str:
    """Return our name of a sampler of ComfyUI or Fooocus, its own if we have none."""
    return COMFY_SAMPLERS.get(name.removesuffix("_gpu"), name)


def comfy_schedule(name: str) -> str:
    return COMFY_SCHEDULES.get(name, name)


def diffusers_sampler(name: str) -> tuple[str, str]:
    """Return sampler and schedule of a name of InvokeAI or Easy Diffusion."""
    plain = name.removeprefix("k_") if name.startswith("k_") else name
    base = re.sub(r"_k(?:arras)?$", "", plain)
    return DIFFUSERS_SAMPLERS.get(base, name), "Karras" if base != plain else "Automatic"
