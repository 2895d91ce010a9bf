"""Requests, tools and calls for tests of the bundled scripts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from webui.domain.models import Kind, ModelInfo
from webui.domain.passes import ScriptCall
from webui.domain.request import GenerationRequest
from webui.domain.start import FromImage, FromMaskedImage
from webui.errors import NotFound
from webui.extending.loader import Extensions, load_extensions
from webui.extending.scripts import Expansion, NameKind, Tools, expand_request, find_script, options_from_args

EXTENSIONS: Extensions = load_extensions(Path(__file__).resolve().parents[2] / "extensions")
PICTURE = FromImage(images=("1" * 64,), strength=0.75)
MASKED = FromMaskedImage(images=("1" * 64,), mask="2" * 64, strength=0.75, content="latent_noise")
FIRST_DRAWN = 1000


def names(kind: NameKind) -> tuple[str, ...]:
    return {"picture_upscaler": ("None", "Lanczos", "Nearest", "R-ESRGAN")}.get(kind, ())


def find(kind: Kind, name: str) -> ModelInfo:
    raise NotFound(f"{kind.value} not found: {name!r}.")


def make_tools() -> Tools:
    """Seeds count up from `FIRST_DRAWN`."""
    seeds: Iterator[int] = count(FIRST_DRAWN)
    return Tools(
        draw_seed=lambda: next(seeds),
        names=names,
        picture_size=lambda reference: (512, 384),
        find=find,
        models=lambda kind: (),
        store_picture=lambda content: hashlib.sha256(content).hexdigest(),
        setting=lambda name: None,
    )


def expand(request: GenerationRequest, script: str, **options: object) -> Expansion:
    """Return what a bundled script makes of a request."""
    found = find_script(script, EXTENSIONS.scripts)
    call = ScriptCall(name=script, options=options)
    return expand_request(request.replace(script=call), found, make_tools())


def expand_args(request: GenerationRequest, script: str, *args: object) -> Expansion:
    """Return the same for A1111's arguments by position."""
    found = find_script(script, EXTENSIONS.scripts)
    return expand_request(request.replace(script=options_from_args(found, args)), found, make_tools())
