"""The text inside an image that says how it was made, in A1111's format."""

from __future__ import annotations

from webui.images.infotext.grammar import NEGATIVE, read_parameters, split
from webui.images.infotext.reading import ReadInfotext, read, read_parameters_of
from webui.images.infotext.writing import compose, write, write_sheet

__all__ = [
    "NEGATIVE",
    "ReadInfotext",
    "compose",
    "read",
    "read_parameters",
    "read_parameters_of",
    "split",
    "write",
    "write_sheet",
]
