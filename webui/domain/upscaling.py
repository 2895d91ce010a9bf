"""How pictures and latents are enlarged: the built-in ways by name, and what a plan knows of any of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from webui.domain.frozen import Data

LATENT_UPSCALERS: Mapping[str, tuple[str, bool]] = MappingProxyType(
    {
        "Latent": ("bilinear", False),
        "Latent (antialiased)": ("bilinear", True),
        "Latent (bicubic)": ("bicubic", False),
        "Latent (bicubic antialiased)": ("bicubic", True),
        "Latent (nearest)": ("nearest", False),
        "Latent (nearest-exact)": ("nearest-exact", False),
    }
)
"""A1111's name → torch's interpolation mode, and whether it is antialiased."""

PLAIN_UPSCALERS = ("None", "Lanczos", "Nearest")
"""Ways that need no weights. "None" enlarges nothing: what asks for a size gets it by Lanczos afterwards."""


class UpscalerRef(Data):
    """The exact upscaler of a plan: a network has a file, the others have a name alone.

    A network sees `tile` pixels of the picture at once (0: all of it), tiles overlap by `overlap` at least.
    """

    name: str
    kind: Literal["latent", "plain", "network", "extension"]
    path: Path | None = None
    sha256: str = ""
    tile: int = 192
    overlap: int = 8
