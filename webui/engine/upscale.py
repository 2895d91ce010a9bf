"""Pictures made larger: by networks in tiles that blend into each other, or by plain resampling."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from webui.domain.upscaling import UpscalerRef
from webui.engine.control import Control
from webui.engine.vae import to_pixels
from webui.errors import GenerationError, OutOfMemory
from webui.weights.loading.upscalers import Upscaler, load_upscaler
from webui.weights.memory import EngineOptions, choose_device, fetch, free_unused, is_out_of_memory, settle
from webui.weights.recognition.upscaler_files import identify_upscaler

log = logging.getLogger(__name__)

SMALLEST_TILE = 32  # pixels; where even such a tile has no room, nothing can be done
MOST_PASSES = 3  # of one network over one picture, as in A1111
MOST_PIXELS = 2**28  # of a picture between two passes


Enlarge = Callable[[Image.Image, int, int], Image.Image]
"""(picture, width, height) → the picture at about that size."""


@dataclass(frozen=True)
class TileDone:
    """Tile `number` (from 1) of `count` is enlarged; when memory runs out there are more than was said before."""

    number: int
    count: int


class Upscalers:
    """Keeps the network that was used last; `extra` are ways to enlarge that extensions offer, by name."""

    def __init__(self, options: EngineOptions, extra: Mapping[str, Enlarge] = MappingProxyType({})) -> None:
        self._options = options
        self._extra = extra
        self._key: tuple[str, str] | None = None
        self._kept: Upscaler | None = None

    def holds(self, upscaler: UpscalerRef) -> bool:
        """Tell whether `upscaler` need not be loaded."""
        return upscaler.kind != "network" or self._key == _key(upscaler)

    def extra(self, upscaler: UpscalerRef) -> Enlarge:
        """Return what an extension does under this name; raise `GenerationError` when it is gone."""
        if upscaler.name not in self._extra:
            raise GenerationError(f"There is no upscaler {upscaler.name!r} any more.", hint="Its extension failed.")
        return self._extra[upscaler.name]

    def get(self, upscaler: UpscalerRef) -> Upscaler:
        """Return the network on its device; raise `BadFile` when it cannot be loaded."""
        if self._kept is None or self._key != _key(upscaler):
            assert upscaler.path is not None
            loaded = load_upscaler(identify_upscaler(upscaler.path))  # a broken file leaves the old one loaded
            self.release()
            device = choose_device(self._options, "upscaler")
            half = device.type == "cuda" and self._options.half and loaded.robust
            settle(loaded.network, device, torch.float16 if half else torch.float32)
            self._kept, self._key = loaded, _key(upscaler)
            log.info("Loaded the upscaler %s on %s.", upscaler.name, device)
        return self._kept

    def release(self) -> None:
        """Let go of the network and give its memory back."""
        self._kept = self._key = None
        free_unused()


def _key(upscaler: UpscalerRef) -> tuple[str, str]:
    return str(upscaler.path), upscaler.sha256


def upscale(
    image: Image.Image, upscaler: UpscalerRef, width: int, height: int, networks: Upscalers, control: Control
) -> Image.Image | None:
    """Return `image` at `width` × `height`, None when it was stopped between two tiles; see `upscale_in_tiles`."""
    work = upscale_in_tiles(image, upscaler, width, height, networks)
    while not (control.interrupted or control.skipped):
        try:
            next(work)
        except StopIteration as end:
            result: Image.Image = end.value
            return result
    return None


def upscale_in_tiles(
    image: Image.Image, upscaler: UpscalerRef, width: int, height: int, networks: Upscalers
) -> Generator[TileDone, None, Image.Image]:
    """Return `image` (RGB or RGBA) at `width` × `height` and tell how far it has come.

    A network is applied until the picture is as large as wanted (at least once, unless it shall become smaller); what
    is too large then is made smaller by Lanczos. Transparency is enlarged by Lanczos. Raises `BadFile` for a network
    that cannot be loaded, `OutOfMemory` when not even a small tile finds room, `GenerationError` when the network
    computes no numbers.
    """
    if upscaler.kind == "latent":
        raise GenerationError(f"{upscaler.name} enlarges latents, not pictures.", hint="Choose another upscaler.")
    size = (width, height)
    alpha = image.getchannel("A") if "A" in image.getbands() else None
    enlarged = image.convert("RGB")
    if upscaler.kind == "network" and not (image.width > width or image.height > height):
        enlarged = yield from _apply(enlarged, upscaler, size, networks)
    if upscaler.kind == "extension":
        enlarged = networks.extra(upscaler)(enlarged, width, height).convert("RGB")
    method = Image.Resampling.NEAREST if upscaler.name == "Nearest" else Image.Resampling.LANCZOS
    if enlarged.size != size:
        enlarged = enlarged.resize(size, method)
    if alpha is not None:
        enlarged.putalpha(alpha if alpha.size == size else alpha.resize(size, method))
    return enlarged


def _apply(
    image: Image.Image, upscaler: UpscalerRef, size: tuple[int, int], networks: Upscalers
) -> Generator[TileDone, None, Image.Image]:
    """Return the picture when the network was applied as often as it takes to cover `size`."""
    network = networks.get(upscaler)
    done = 0
    for number in range(MOST_PASSES):
        is_covered = image.width >= size[0] and image.height >= size[1]
        if number > 0 and (is_covered or network.scale == 1):
            break
        image = _fit_between(image, size, network.scale)
        later = _count_later(image.size, upscaler, size, network.scale, MOST_PASSES - number - 1)
        run = _run_pass(image, upscaler, network)
        while True:
            try:
                tile = next(run)
            except StopIteration as end:
                image = end.value
                break
            yield TileDone(done + tile.number, done + tile.count + later)
        done += tile.count
    return image


def _fit_between(image: Image.Image, size: tuple[int, int], scale: int) -> Image.Image:
    """Return what the next pass enlarges: smaller than `image` where its result would be beyond reason."""
    share = max(size[0] / image.width, size[1] / image.height) / scale
    if share >= 1 or image.width * image.height * scale**2 <= MOST_PIXELS:
        return image
    return image.resize((math.ceil(image.width * share), math.ceil(image.height * share)), Image.Resampling.LANCZOS)


def _count_later(size: tuple[int, int], upscaler: UpscalerRef, wanted: tuple[int, int], scale: int, passes: int) -> int:
    """Return how many tiles the passes after the next one will have."""
    count = 0
    for _ in range(passes):
        size = (size[0] * scale, size[1] * scale)
        if scale == 1 or (size[0] >= wanted[0] and size[1] >= wanted[1]):
            break
        tile = _tile(upscaler, size)
        overlap = min(upscaler.overlap, tile // 2)
        count += len(cut(size[0], tile, overlap)) * len(cut(size[1], tile, overlap))
    return count


# -- one pass ----------------------------------------------------------------------------------------------------------


def _run_pass(image: Image.Image, upscaler: UpscalerRef, network: Upscaler) -> Generator[TileDone, None, Image.Image]:
    """Return `image` enlarged once. When memory runs out, the pass begins anew with tiles half as large."""
    tile = _tile(upscaler, image.size)
    while True:
        try:
            return (yield from _run_tiles(image, network, tile, upscaler.overlap))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if tile // 2 < SMALLEST_TILE:
                raise OutOfMemory(
                    f"Too little memory to enlarge even {tile} pixels at a time with {upscaler.name}.",
                    hint="Choose a smaller upscaler, Lanczos, or end other programs.",
                    field="upscaler",
                ) from error
        tile //= 2
        log.warning("Too little memory for the upscaler %s; tiles have %d pixels now.", upscaler.name, tile)
        free_unused()


def _tile(upscaler: UpscalerRef, size: tuple[int, int]) -> int:
    """Return how many pixels of a picture of `size` are enlarged at once."""
    return min(max(upscaler.tile, SMALLEST_TILE) if upscaler.tile else max(size), max(size))


@torch.inference_mode()
def _run_tiles(
    image: Image.Image, network: Upscaler, tile: int, overlap: int
) -> Generator[TileDone, None, Image.Image]:
    """Return `image` enlarged once in tiles of `tile` pixels that overlap by at least `overlap`.

    Rows of tiles are blended from left to right, then into what is above them.
    """
    scale, overlap = network.scale, min(overlap, tile // 2)
    columns, rows = cut(image.width, tile, overlap), cut(image.height, tile, overlap)
    result = np.empty((image.height * scale, image.width * scale, 3), np.uint8)
    above: Tensor | None = None
    for index, (top, bottom) in enumerate(rows):
        strip = torch.empty(3, (bottom - top) * scale, image.width * scale)
        for number, (left, right) in enumerate(columns):
            pixels = _enlarge(network, image.crop((left, top, right, bottom)))
            begin = columns[number - 1][1] if number else left
            _blend(strip.transpose(1, 2), pixels.transpose(1, 2), left * scale, begin * scale)
            yield TileDone(index * len(columns) + number + 1, len(rows) * len(columns))
        shared = (rows[index - 1][1] - top) * scale if above is not None else 0
        if above is not None:
            share = fade_in(shared)[:, None]
            strip[:, :shared] = above[:, above.shape[1] - shared :] * (1 - share) + strip[:, :shared] * share
        finished = bottom if index + 1 == len(rows) else rows[index + 1][0]
        numbers = (strip[:, : (finished - top) * scale].clamp(0, 1) * 255).round().to(torch.uint8)
        result[top * scale : finished * scale] = numbers.permute(1, 2, 0).numpy()
        above = strip
    return Image.fromarray(result)


def cut(length: int, tile: int, overlap: int) -> Sequence[tuple[int, int]]:
    """Return where the fewest tiles of `tile` pixels lie that cover `length`, spread evenly, overlapping by `overlap`
    or more; one alone when it is enough or `tile` is 0."""
    if tile == 0 or tile >= length:
        return [(0, length)]
    count = math.ceil((length - overlap) / (tile - overlap))
    starts = [round(index * (length - tile) / (count - 1)) for index in range(count)]
    return [(start, start + tile) for start in starts]


def _blend(strip: Tensor, pixels: Tensor, start: int, end: int) -> None:
    """Put `pixels` [3,w,h] into `strip` [3,W,h] at `start`; up to `end` they fade in."""
    shared = end - start
    share = fade_in(shared)[:, None]
    strip[:, start:end] = strip[:, start:end] * (1 - share) + pixels[:, :shared] * share
    strip[:, end : start + pixels.shape[1]] = pixels[:, shared:]


def fade_in(length: int) -> Tensor:
    """Return the share [length] of the later one of two tiles that overlap by `length`, from 0 to 1.

    The outer quarter of each tile's overlap is not used at all: there a network saw the end of the tile.
    """
    places = (torch.arange(length) + 0.5) / max(length, 1)
    return ((places - 0.25) * 2).clamp(0, 1)


def _enlarge(network: Upscaler, tile: Image.Image) -> Tensor:
    """Return one tile [3,h·scale,w·scale] in about 0 … 1, float32, on the CPU.

    A network that overflows in half precision computes in float32 from then on.
    """
    parameter = next(network.network.parameters())
    right, bottom = -tile.width % network.multiple, -tile.height % network.multiple
    inputs = functional.pad(to_pixels(tile).unsqueeze(0), (0, right, 0, bottom), mode="replicate").to(parameter)
    outputs = network.network(inputs)[0]
    if not torch.isfinite(outputs).all() and parameter.dtype != torch.float32:
        log.warning("The upscaler overflowed in half precision; it computes in float32 from now on.")
        settle(network.network, parameter.device, torch.float32)
        outputs = network.network(inputs.float())[0]
    if not torch.isfinite(outputs).all():
        raise GenerationError("The upscaler computed no picture (NaN).", hint="Its weights are damaged; use another.")
    return fetch(outputs[:, : tile.height * network.scale, : tile.width * network.scale].float())
