"""Tiny and pocket models, engines and plans: those of the engine's tests."""

from __future__ import annotations

from tests.engine.conftest import (
    engine,
    make_plan,
    models,
    options,
    pocket,
    pocket_engine,
    scorer,
    tiny,
    tiny_file,
    tiny_folder,
)

__all__ = [
    "engine",
    "make_plan",
    "models",
    "options",
    "pocket",
    "pocket_engine",
    "scorer",
    "tiny",
    "tiny_file",
    "tiny_folder",
]
