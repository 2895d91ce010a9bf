"""Where TAESD, the tiny stand-in for the VAE, is used, and which file it is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from webui.domain.plan import PreviewMethod, PreviewPlan, TaesdPlan
from webui.errors import NotFound
from webui.planner.shelf import Shelf
from webui.settings import ALIASES, Settings


def plan_taesd(settings: Settings, shelf: Shelf) -> TaesdPlan:
    """Return the files of TAESD by what they do; raise `NotFound` when it shall code pictures and is not there."""
    return TaesdPlan(
        encoder=_find(shelf, "encoder", "encode_method") if settings.encode_method == "TAESD" else None,
        decoder=_find(shelf, "decoder", "decode_method") if settings.decode_method == "TAESD" else None,
        preview=shelf.taesd("decoder") if _previews_by_taesd(settings) else None,
    )


def plan_preview(settings: Settings, taesd: TaesdPlan) -> PreviewPlan:
    """Return how previews are drawn."""
    method: PreviewMethod = "Full" if settings.preview_method == "Full" else "Approx"
    return PreviewPlan(
        every=settings.preview_every if settings.live_previews else 0,
        size=settings.preview_size,
        method="TAESD" if taesd.preview is not None else method,
    )


def note_taesd(settings: Settings, taesd: TaesdPlan) -> tuple[str, ...]:
    """Return what the user should know: that others draw the previews when TAESD is not there."""
    if not _previews_by_taesd(settings) or taesd.preview is not None:
        return ()
    return ("Previews are drawn without TAESD: put taesd_decoder.safetensors into models/VAE-approx.",)


def _previews_by_taesd(settings: Settings) -> bool:
    return settings.live_previews and settings.preview_method == "TAESD"


def _find(shelf: Shelf, half: Literal["encoder", "decoder"], setting: str) -> Path:
    found = shelf.taesd(half)
    if found is None:
        raise NotFound(
            f"TAESD is not there: models/VAE-approx holds no taesd_{half}.safetensors.",
            hint=f"Put it there, or set {ALIASES[setting]} to Full.",
            field=setting,
        )
    return found
