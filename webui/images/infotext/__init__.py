"""The text inside an image that says how it was made, in A1111's format."""

from __future__ import annotations

from webui.images.infotext.grammar import NEGATIVE, read_parameters
from webui.images.infotext.reading import ReadInfotext, read
from webui.images.infotext.writing import write

__all__ = ["NEGATIVE", "ReadInfotext", "read", "read_parameters", "write"]
