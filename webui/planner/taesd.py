"""Where TAESD, the tiny stand-in for the VAE, is used, and which file it is."""

from __future__ import annotations

from pathlib import Path

from webui.domain.models import Family
from webui.domain.plan import PreviewMethod, PreviewPlan, TaesdPlan
from webui.errors import NotFound
from webui.planner.shelf import Shelf
from webui.settings import ALIASES, Settings
from webui.weights.recognition.vae_files import Half, taesd_name


def plan_taesd(settings: Settings, shelf: Shelf, family: Family) -> TaesdPlan:
    """Return the files of TAESD by what they do; raise `NotFound` when it shall code pictures and is not there."""
    if family is Family.OTHER:
        return TaesdPlan()
    return TaesdPlan(
        encoder=_find(shelf, "encoder", family, "encode_method") if settings.encode_method == "TAESD" else None,
        decoder=_find(shelf, "decoder", family, "decode_method") if settings.decode_method == "TAESD" else None,
        preview=shelf.taesd("decoder", family) if _previews_by_taesd(settings) else None,
    )


def plan_preview(settings: Settings, taesd: TaesdPlan) -> PreviewPlan:
    """Return how previews are drawn."""
    method: PreviewMethod = "Full" if settings.preview_method == "Full" else "Approx"
    return PreviewPlan(
        every=settings.preview_every if settings.live_previews else 0,
        size=settings.preview_size,
        method="TAESD" if taesd.preview is not None else method,
    )


def note_taesd(settings: Settings, taesd: TaesdPlan, family: Family) -> tuple[str, ...]:
    """Return what the user should know: that others draw the previews when TAESD is not there."""
    if family is Family.OTHER or not _previews_by_taesd(settings) or taesd.preview is not None:
        return ()
    return (f"Previews are drawn without TAESD: put {taesd_name('decoder', family)} into models/VAE-approx.",)


def _previews_by_taesd(settings: Settings) -> bool:
    return settings.live_previews and settings.preview_method == "TAESD"


def _find(shelf: Shelf, half: Half, family: Family, setting: str) -> Path:
    found = shelf.taesd(half, family)
    if found is None:
        raise NotFound(
            f"TAESD is not there: models/VAE-approx holds no {taesd_name(half, family)}.",
            hint=f"Put it there, or set {ALIASES[setting]} to Full.",
            field=setting,
        )
    return found
