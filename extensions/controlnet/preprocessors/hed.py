"""HED: soft edges by the network that ControlNet was trained with (`ControlNetHED.pth`). Runs in the worker.

Xie and Tu 2015, arXiv:1504.06375; the names of the weights are those of lllyasviel's file (Apache-2.0).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from extensions.controlnet.preprocessors.annotators import fill
from extensions.controlnet.preprocessors.sizes import Pixels, thin

BLOCKS = ((3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3))  # channels in, out, convolutions


class Block(nn.Module):  # type: ignore[misc]
    """Convolutions, and what they see of edges."""

    def __init__(self, before: int, after: int, count: int) -> None:
        super().__init__()
        widths = [before] + [after] * count
        self.convs = nn.Sequential(*(nn.Conv2d(one, two, 3, padding=1) for one, two in zip(widths, widths[1:])))  # noqa: B905, RUF007
        self.projection = nn.Conv2d(after, 1, 1)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        for convolution in self.convs:
            values = convolution(values).relu()
        return values, self.projection(values)


class Hed(nn.Module):  # type: ignore[misc]
    """RGB [1, 3, height, width], 0 to 255 → five maps of logits, each half as large as the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Parameter(torch.zeros(1, 3, 1, 1))
        for number, block in enumerate(BLOCKS, 1):
            self.add_module(f"block{number}", Block(*block))

    def forward(self, picture: Tensor) -> list[Tensor]:
        values, maps = picture - self.norm, []
        for number in range(1, len(BLOCKS) + 1):
            if number > 1:
                values = nn.functional.max_pool2d(values, 2)
            values, seen = self.get_submodule(f"block{number}")(values)
            maps.append(seen)
        return maps


def find_edges(preprocessor: str, file: Path, picture: Pixels, *, is_safe: bool = False) -> Pixels:
    """Return soft edges [height, width], 0 to 255; `is_safe` leaves three levels, in which nothing can hide."""
    from webui.extending.computing import read_tensors

    with torch.device("meta"):  # the file has all numbers: none need be drawn
        network = Hed()
    fill(network, read_tensors(file), preprocessor, file)
    with torch.inference_mode():
        maps = network.eval()(torch.from_numpy(_widened(picture)).permute(2, 0, 1)[None].float())
        size = maps[0].shape[2:]
        large = [nn.functional.interpolate(each, size, mode="bilinear", align_corners=False) for each in maps]
        edges = torch.stack(large).mean(dim=0).sigmoid()[0, 0].numpy()[: picture.shape[0], : picture.shape[1]]
    if is_safe:
        edges = np.floor(edges * 3) / 2
    return np.asarray(np.clip(edges * 255, 0, 255), np.uint8)


def _widened(picture: Pixels) -> Pixels:
    """Return a picture with at least 16 pixels on each side, its border repeated: it is halved four times."""
    down, across = (max(0, 16 - side) for side in picture.shape[:2])
    return np.ascontiguousarray(np.pad(picture, ((0, down), (0, across), (0, 0)), "edge"))


def to_scribble(edges: Pixels) -> Pixels:
    """Return the crests of soft edges as with a pen of three pixels."""
    pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    return np.asarray(cv2.dilate(thin((edges > 127).astype(np.uint8)), pen) * np.uint8(255), np.uint8)
