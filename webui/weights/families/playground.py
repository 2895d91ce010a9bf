"""The files of Playground v2.5: SDXL's networks, trained on continuous noise levels and in latents of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from webui.domain.models import Family, ModelDefaults
from webui.weights.checkpoint import Checkpoint, EdmSchedule
from webui.weights.families import sdxl
from webui.weights.families.checks import Configs, unusable
from webui.weights.formats.headers import Header

WORDS = "a Playground"
SCALE = 0.5  # of its latents
MEANS = -1.6574, 1.886, -1.383, 2.5155  # of the VAE's own latents, by channel, as its makers published them
DEVIATIONS = 8.4927, 5.9022, 6.5498, 5.2299
_MARKS = frozenset({"edm_mean", "edm_std"})


def _check(path: Path, configs: Configs) -> None:
    sdxl.FILES.check(path, configs)
    means, deviations = (_four(configs["vae"].get(name)) for name in ("latents_mean", "latents_std"))
    if not means or not deviations or min(deviations) <= 0:
        raise unusable(path, "vae")


def _four(numbers: object) -> list[float]:
    """Return a list's four numbers, none where it is something else."""
    items = list(numbers) if isinstance(numbers, list | tuple) else []
    return items if len(items) == 4 and all(type(each) in (int, float) for each in items) else []


def _defaults(configs: Configs) -> ModelDefaults:
    return ModelDefaults(width=1024, height=1024, guidance=3.0, steps=30, sampler="DPM++ 2M", schedule="Karras")


def _read_single_file(path: Path, header: Header) -> Checkpoint | None:
    found = sdxl.FILES.single_file(path, header) if header.keys() >= _MARKS else None
    if found is None:
        return None
    vae = found.parts["vae"]
    config = {**vae.config, "scaling_factor": SCALE, "latents_mean": MEANS, "latents_std": DEVIATIONS}
    return replace(
        found,
        family=Family.PLAYGROUND,
        parts={**found.parts, "vae": replace(vae, config=config)},
        noise=EdmSchedule(),
        defaults=_defaults(found.configs),
    )


FILES = replace(
    sdxl.FILES,
    family=Family.PLAYGROUND,
    words=WORDS,
    claims=lambda index, read: read("vae/config.json").get("latents_mean") is not None,
    check=_check,
    defaults=_defaults,
    single_file=_read_single_file,
)
