"""Where each network computes and what it will take: the one planner of memory.

Pure, and free of torch: the worker places by it, and the server predicts with it what a job will need.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from webui.domain.frozen import Data
from webui.domain.models import Family
from webui.weights.checkpoint import is_text_encoder
from webui.weights.memory_plan import footprint
from webui.weights.memory_plan.facts import CheckpointFacts, DeviceFacts, EngineOptions, JobFacts, MemoryMode, Precision
from webui.weights.memory_plan.precisions import ITEM_SIZES, choose_precision, device_of

MODES: Sequence[MemoryMode] = ("normal", "medvram", "lowvram")

# Below this many parameters a network's VAE is kept on the device in every mode, and cheap enough for previews.
SMALL_VAE = 5_000_000
# What the two flags promise, at the usual size of a model's pictures: larger parts are streamed, pictures tiled.
MOST_IN_MEDVRAM = 4 * 2**30
MOST_IN_LOWVRAM = 7 * 2**28
# Convolutions want room to work in, and what is freed is not always of use: on top of what is alive.
_SPARE = 1.25
_FIXED = 192 * 2**20
SMALLEST_TILE = 32  # latents each way
GOOD_TILE = 64  # smaller ones are seen in some pictures
_TILE_STEP = 16
_PREFETCHED = 3  # layers of a streamed network that are on the device at a time


class MemoryPlan(Data):
    """Where everything computes and what that takes.

    `devices` and `precisions` are by component, `device` is that of the denoiser. `vae_tile`: latents each way of the
    tiles the VAE works in, None: in one piece. `peak` and `ram` are bytes on the device and in RAM (files that are only
    mapped not counted). `fits`: whether the device has that much; `why` says in a sentence how it came to this.
    """

    device: str
    mode: MemoryMode
    devices: Mapping[str, str]
    precisions: Mapping[str, Precision]
    streamed: tuple[str, ...]
    vae_tile: int | None
    weights: int
    peak: int
    ram: int
    fits: bool
    why: str


def plan_memory(
    options: EngineOptions, device: DeviceFacts, checkpoint: CheckpointFacts, job: JobFacts | None = None
) -> MemoryPlan:
    """Return how `checkpoint` computes on `device` what `job` asks for (None: a picture of the usual size)."""
    precisions = {name: choose_precision(options, device, checkpoint, name) for name in checkpoint.parts}
    devices = {name: device_of(options, device.kind, name) for name in checkpoint.parts}
    sizes = _Sizes(checkpoint, precisions, devices, job or usual_job(checkpoint), device.kind)
    asked = options.mode_for(checkpoint.family)
    if device.kind == "cpu":
        return _made(sizes, device, "normal", device.free, "everything computes on the processor")
    if asked != "auto":
        return _made(sizes, device, asked, budget(asked, device), f"--{asked.replace('normal', 'normalvram')} says so")
    plans = [_made(sizes, device, mode, device.free, _REASONS[mode]) for mode in MODES]
    good = [plan for plan in plans if plan.fits and not _is_poor(plan, checkpoint.denoiser)]
    fitting = [plan for plan in plans if plan.fits]
    return (good or fitting[::-1] or plans[::-1])[0]


def _is_poor(plan: MemoryPlan, denoiser: str) -> bool:
    """Tell whether a more sparing mode would serve better: its tiles were larger, or it streams as much."""
    return (plan.vae_tile or GOOD_TILE) < GOOD_TILE or (plan.mode == "medvram" and denoiser in plan.streamed)


_REASONS: Mapping[MemoryMode, str] = {
    "normal": "all of the model fits on the device",
    "medvram": "not all of the model fits on the device at once, but each part does",
    "lowvram": "not even each part of the model fits on the device",
}


def budget(mode: MemoryMode, device: DeviceFacts) -> int:
    """Return how many bytes of the device a mode takes at most, where the parts of a model allow it."""
    most = {"normal": device.free, "medvram": MOST_IN_MEDVRAM, "lowvram": MOST_IN_LOWVRAM}[mode]
    return min(most, device.free)


def usual_job(checkpoint: CheckpointFacts) -> JobFacts:
    """Return a picture of the size the model was made for."""
    side = 512 if checkpoint.family.latents is Family.SD1 else 1024
    return JobFacts(side, side)


# -- sizes -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sizes:
    """What the parts of a checkpoint take, in the precisions chosen for them."""

    checkpoint: CheckpointFacts
    precisions: Mapping[str, Precision]
    devices: Mapping[str, str]
    job: JobFacts
    main: str

    @property
    def here(self) -> Collection[str]:
        """The components on the main device."""
        return [name for name, device in self.devices.items() if device == self.main]

    @property
    def elsewhere(self) -> Collection[str]:
        return [name for name, device in self.devices.items() if device != self.main]

    @property
    def vae(self) -> Mapping[str, Any]:
        return self.checkpoint.parts["vae"].config if "vae" in self.checkpoint.parts else {}

    @property
    def latents(self) -> tuple[int, int]:
        side = footprint.shrink(self.vae)
        return -(-self.job.width // side), -(-self.job.height // side)

    def weights(self, name: str) -> int:
        return self.checkpoint.parts[name].size(ITEM_SIZES[self.precisions[name]])

    def streamed_weights(self, name: str) -> int:
        largest = self.checkpoint.parts[name].largest * ITEM_SIZES[self.precisions[name]]
        return min(self.weights(name), _PREFETCHED * largest)

    def copied(self, name: str) -> int:
        """Return the bytes that are in RAM and not merely mapped: those stored in another precision."""
        precision = self.precisions[name]
        return self.checkpoint.parts[name].copied(precision, ITEM_SIZES[precision])

    def work(self, name: str, tile: int | None = None) -> int:
        """Return what a component takes on top of its weights, the VAE with tiles of `tile` latents each way."""
        return _worked(self._elements(name, tile) * ITEM_SIZES[self.precisions[name]])

    def _elements(self, name: str, tile: int | None) -> int:
        config = self.checkpoint.parts[name].config
        across, down = self.latents
        if is_text_encoder(name):
            return footprint.text_elements(config)
        if name == "vae":
            across, down = (across, down) if tile is None else (min(across, tile), min(down, tile))
            return footprint.decoder_elements(config, across * down * footprint.shrink(config) ** 2)
        if name == "transformer":
            tokens = footprint.tokens_of(config, self.vae, across * down)
            return self.job.rows * footprint.transformer_elements(config, tokens)
        return self.job.rows * footprint.unet_elements(config, across * down)

    def is_small(self, name: str) -> bool:
        return name == "vae" and self.checkpoint.parts[name].parameters < SMALL_VAE


def _worked(alive: float) -> int:
    return round(alive * _SPARE) + _FIXED


def choose_tile(room: int, config: Mapping[str, Any], item_size: int, latents: tuple[int, int]) -> int | None:
    """Return the side of the largest tiles in which a VAE decodes `latents` (width, height) within `room` bytes.

    None when it needs no tiles. Where not even the smallest fit, it is these.
    """
    for side in _tiles(latents):
        across, down = (min(each, side) for each in latents)
        pixels = across * down * footprint.shrink(config) ** 2
        if _worked(footprint.decoder_elements(config, pixels) * item_size) <= room:
            return None if side >= max(latents) else side
    return SMALLEST_TILE if max(latents) > SMALLEST_TILE else None


def next_tile(side: int | None, latents: tuple[int, int]) -> int | None:
    """Return the side of the tiles to try after those of `side` (None: the whole) had no room; None: there are none."""
    whole = max(latents) if side is None else side
    smaller = max(whole // 2 // _TILE_STEP * _TILE_STEP, SMALLEST_TILE)
    return smaller if smaller < min(whole, max(latents)) else None


def _tiles(latents: tuple[int, int]) -> Iterator[int]:
    """Yield sides of tiles, the largest first: the whole picture, then ever smaller squares."""
    yield max(latents)
    yield from range((max(latents) - 1) // _TILE_STEP * _TILE_STEP, SMALLEST_TILE - 1, -_TILE_STEP)


# -- modes -------------------------------------------------------------------------------------------------------------


def _made(sizes: _Sizes, device: DeviceFacts, mode: MemoryMode, most: int, why: str) -> MemoryPlan:
    """Return the plan in `mode` that takes `most` bytes of the device, if that is possible."""
    streamed = tuple(name for name in sizes.here if _is_streamed(sizes, mode, name, most))
    staying = _staying(sizes, mode)
    tile = None
    if "vae" in sizes.checkpoint.parts:
        room = (most if "vae" in sizes.here else device.ram_free) - staying
        own = 0 if "vae" in sizes.elsewhere or mode == "normal" or sizes.is_small("vae") else sizes.weights("vae")
        tile = choose_tile(room - own, sizes.vae, ITEM_SIZES[sizes.precisions["vae"]], sizes.latents)
    peak = max(
        (staying + _coming(sizes, mode, name, name in streamed) + sizes.work(name, tile) for name in sizes.here),
        default=0,
    )
    ram = sum(sizes.copied(name) for name in sizes.checkpoint.parts)
    ram += max((sizes.work(name, tile) for name in sizes.elsewhere), default=0)
    if device.kind == "cpu":
        peak = ram = ram + max(sizes.work(name, tile) for name in sizes.here)
    elif device.kind == "cuda":
        ram += sum(sizes.weights(name) for name in streamed)  # page-locked copies make the way to the device fast
    return MemoryPlan(
        device=device.kind,
        mode=mode,
        devices=dict(sizes.devices),
        precisions=dict(sizes.precisions),
        streamed=streamed,
        vae_tile=tile,
        weights=sum(sizes.weights(name) for name in sizes.checkpoint.parts),
        peak=peak,
        ram=ram,
        fits=peak <= device.free,
        why=_reason(why, streamed, tile),
    )  # fmt: skip


def _is_streamed(sizes: _Sizes, mode: MemoryMode, name: str, most: int) -> bool:
    if mode == "normal" or name == "vae":
        return False
    if mode == "lowvram" and name == sizes.checkpoint.denoiser:
        return True
    return sizes.weights(name) + sizes.work(name) > most


def _staying(sizes: _Sizes, mode: MemoryMode) -> int:
    """Return the bytes of the weights that are on the device all the time."""
    return sum(sizes.weights(name) for name in sizes.here if mode == "normal" or sizes.is_small(name))


def _coming(sizes: _Sizes, mode: MemoryMode, name: str, streamed: bool) -> int:
    """Return the bytes of the weights that come to the device when `name` computes."""
    if mode == "normal" or sizes.is_small(name):
        return 0
    return sizes.streamed_weights(name) if streamed else sizes.weights(name)


def _reason(why: str, streamed: Sequence[str], tile: int | None) -> str:
    parts = [why]
    if streamed:
        parts.append(f"{' and '.join(streamed)} computed layer by layer")
    if tile is not None:
        parts.append(f"the VAE works in tiles of {tile} latents")
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}."
