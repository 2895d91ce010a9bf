"""Large pictures through a VAE in tiles: they overlap, and each fades into the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from webui.weights.memory import fetch

# Of a tile's side, how much it shares with each neighbour. What a VAE sees around a place reaches some 20 latents far,
# but little of it comes from more than half as far.
OVERLAP = 3 / 8


def compute_in_tiles(compute: Callable[[Tensor], Tensor], whole: Tensor, side: int) -> Tensor:
    """Return what `compute` makes of `whole` [C,H,W], tile by tile, put together on the CPU: [c,H·f,W·f], float32.

    `compute` takes a tile [C,h,w] and returns [c,h·f,w·f] for any whole or fractional scale f. Tiles are `side` large
    each way, or as large as the picture.
    """
    rows, columns = (list(spans(length, side)) for length in whole.shape[-2:])
    result: Tensor | None = None
    for top, bottom, above, below in rows:
        strip: Tensor | None = None
        for left, right, before, after in columns:
            tile = fetch(compute(whole[..., top:bottom, left:right])).float()
            scale = tile.shape[-1] / (right - left)
            faded = tile * fade(tile.shape[-1], round(before * scale), round(after * scale))
            if strip is None:
                strip = faded.new_zeros((*faded.shape[:-1], round(whole.shape[-1] * scale)))
            strip[..., round(left * scale) : round(right * scale)] += faded
        assert strip is not None
        faded = strip * fade(strip.shape[-2], round(above * scale), round(below * scale)).unsqueeze(-1)
        if result is None:
            result = faded.new_zeros((*faded.shape[:-2], round(whole.shape[-2] * scale), faded.shape[-1]))
        result[..., round(top * scale) : round(bottom * scale), :] += faded
    assert result is not None
    return result


def spans(length: int, side: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the tiles along one axis: (begin, end, shared with the one before, shared with the one after).

    Each begins at an even place, since some VAEs treat neighbours in pairs; the last may be one longer for that.
    """
    side = min(side, length)
    count = 1 if side == length else -(-(length - side) // round(side * (1 - OVERLAP))) + 1
    begins = [round((length - side) * number / max(count - 1, 1) / 8) * 8 for number in range(count - 1)]
    begins.append((length - side) // 2 * 2)
    shared = [0, *(begin + side - following for begin, following in pairwise(begins)), 0]
    for number, begin in enumerate(begins):
        end = length if number == len(begins) - 1 else begin + side
        yield begin, end, shared[number], shared[number + 1]


def fade(length: int, before: int, after: int) -> Tensor:
    """Return the weights [length] of a tile that shares its first `before` and last `after` places with neighbours.

    The outer quarter of what is shared counts for nothing, because there the edge of the tile is felt most; towards the
    inside the weights rise. Those of two tiles sum up to 1.
    """
    weights = torch.ones(length)
    weights[:before] *= _rise(before)
    weights[length - after :] *= 1 - _rise(after)
    return weights


def _rise(length: int) -> Tensor:
    return (2 * (torch.arange(length) + 0.5) / max(length, 1) - 0.5).clamp(0, 1)
