"""What a single file says about the noise its network was trained on: its tensors' names and numbers, its metadata,
and the configuration beside it. Folders have a scheduler_config.json instead."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import pstdev

from webui.weights.checkpoint import EdmSchedule, NoiseSchedule
from webui.weights.families.schedules import check_edm
from webui.weights.formats.headers import Header
from webui.weights.formats.metadata import read_metadata
from webui.weights.formats.numbers import read_numbers

EDM_MARK = "edm_vpred.sigma_max"
_EDM_LOWEST = "edm_vpred.sigma_min"
_MAX_YAML = 2**20  # bytes
_PARAMETERIZATION = re.compile(r"^\s*parameterization\s*:\s*[\"']?(\w+)", re.MULTILINE)
_WORDS = {"v": "v_prediction", "v_prediction": "v_prediction", "vpred": "v_prediction", "eps": "epsilon",
          "epsilon": "epsilon"}  # fmt: skip
_ARCHITECTURES = {"stable-diffusion-v2-768-v": "v_prediction", "stable-diffusion-v2-512": "epsilon"}
_TELLTALE = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
_SPREAD = 0.09  # of its numbers, above which an SD2 network tells velocities


def read_marks(path: Path, header: Header) -> NoiseSchedule | EdmSchedule:
    """Return the noise levels that a file tells of; one that says nothing tells the noise, as nearly all do.

    A `.yaml` of its name beside it decides (A1111's way), then the empty tensors `v_pred` and `ztsnr`, then ModelSpec's
    metadata. CosXL has tensors of one number each instead (`edm_vpred.sigma_max`), in which no sigma_data is: it is 1.
    """
    if EDM_MARK in header:
        highest, lowest = (_read_number(path, header, name) for name in (EDM_MARK, _EDM_LOWEST))
        return check_edm(path, EdmSchedule(lowest or 0.002, highest or 120.0, 1.0, "v_prediction"))
    prediction = _read_yaml(path) or ("v_prediction" if "v_pred" in header else _read_metadata(path)) or "epsilon"
    return NoiseSchedule(prediction=prediction, zero_terminal="ztsnr" in header)


def read_marks_of_sd2(path: Path, header: Header, channels: int) -> NoiseSchedule:
    """Return the same for a file of SD2, whose 512-base models tell the noise and whose 768-v models the velocity.

    Where nobody says which, one layer's numbers do: trained on velocities they spread further (ComfyUI's rule). Those
    that see a mask or a depth beside the latents (`channels`) all tell the noise.
    """
    said = _read_yaml(path) or ("v_prediction" if "v_pred" in header else _read_metadata(path))
    if said is None and channels == 4 and _TELLTALE in header:
        numbers = read_numbers(path, _TELLTALE)
        said = "v_prediction" if len(numbers) > 1 and pstdev(numbers) > _SPREAD else None
    return NoiseSchedule(prediction=said or "epsilon", zero_terminal="ztsnr" in header)


def _read_number(path: Path, header: Header, name: str) -> float | None:
    numbers = read_numbers(path, name) if name in header else []
    return numbers[0] if len(numbers) == 1 else None


def _read_yaml(path: Path) -> str | None:
    """Return what the original configuration beside a file says; one without a word about it means the noise."""
    file = path.with_suffix(".yaml")
    if not file.is_file() or file.stat().st_size > _MAX_YAML:
        return None
    found = _PARAMETERIZATION.search(file.read_text("utf-8", errors="replace"))
    return _WORDS.get(found[1], "epsilon") if found else "epsilon"


def _read_metadata(path: Path) -> str | None:
    metadata = read_metadata(path)
    said = metadata.get("modelspec.prediction_type") or metadata.get("modelspec.predict_key", "")
    return _WORDS.get(said) or _ARCHITECTURES.get(metadata.get("modelspec.architecture", ""))
