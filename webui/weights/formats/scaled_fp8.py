"""Weights in 8-bit floats with a scale beside them, as ComfyUI writes them: number = 8-bit number · scale.

A layer then has `scale_weight` (or `weight_scale`), and things that only its makers' kernels need.
"""

from __future__ import annotations

from collections.abc import Mapping

from webui.weights.formats.tensor_facts import Header

_SCALES = ("scale_weight", "weight_scale")
_UNUSED = ("scale_input", "input_scale", "comfy_quant")
_MARK = "scaled_fp8"


def find_scales(header: Header) -> Mapping[str, str]:
    """Return the name of the scale of each weight that has one."""
    scales: dict[str, str] = {}
    for name in header:
        weight = _weight_of(name, header)
        if weight is not None and name.endswith(_SCALES):
            scales[weight] = name
    return scales


def without_scales(header: Header) -> Header:
    """Return what the header of such a file would be without scales."""
    if not any(name.endswith((*_SCALES, *_UNUSED, _MARK)) for name in header):
        return header
    return {
        name: facts
        for name, facts in header.items()
        if _weight_of(name, header) is None and name.rpartition(".")[2] != _MARK
    }


def _weight_of(name: str, header: Header) -> str | None:
    """Return the 8-bit weight beside which `name` stands, None when it is no scale or the like."""
    place, _, leaf = name.rpartition(".")
    weight = f"{place}.weight"
    beside = leaf in (*_SCALES, *_UNUSED) and weight in header and header[weight].dtype.startswith("F8")
    return weight if beside else None
