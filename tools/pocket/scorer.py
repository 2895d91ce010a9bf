"""A small judge of pocket pictures: what is drawn, in which colours, before which background.

    >>> Scorer.load().describe(picture)
    Description(object='circle', colour='red', background='plain white', second_object='', second_colour='')

It is a convolutional network trained on rendered scenes alone; it never saw a generated picture.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typing_extensions import Self

from tools.pocket import scenes

WEIGHTS = Path(__file__).with_name("scorer.safetensors")
JUDGED = ("object", "colour", "background", "second_object", "second_colour", "relation")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Description:
    """What a picture shows.  With two things, the first is the left or the upper one; a blank: there is no second."""

    object: str
    colour: str
    background: str
    second_object: str
    second_colour: str
    relation: str


class Judge(nn.Module):
    """Five convolutions at 64 pixels, then one linear reader over place and one over strongest responses."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width, stride in ((24, 2), (48, 1), (64, 1), (96, 1)):
            layers += [nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)]
            if stride == 1:
                layers.append(nn.MaxPool2d(2))
            before = width
        self.features = nn.Sequential(*layers)
        self.where = nn.Linear(96 * 16, 128)
        self.sizes = [len(scenes.LABELS[name]) + 1 for name in JUDGED]
        self.read = nn.Linear(128 + 96, sum(self.sizes))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """[n, 3, 64, 64] in -1..1 to scores for each judged label; index 0 means none."""
        features = self.features(images)
        state = torch.cat([F.relu(self.where(features.flatten(1))), features.amax((2, 3))], 1)
        return self.read(state).split(self.sizes, 1)


def shrink(pictures: np.ndarray) -> Tensor:
    """uint8 [n, h, w, 3] to what the judge looks at."""
    images = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return F.interpolate(images, size=(64, 64), mode="area")


class Scorer:
    """The trained judge behind plain questions."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge.eval()

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> Self:
        """The shipped weights."""
        judge = Judge()
        judge.load_state_dict({name: value.float() for name, value in load_file(path).items()})
        return cls(judge)

    def save(self, path: Path = WEIGHTS) -> None:
        """Half precision is enough to ship."""
        state = self._judge.state_dict()
        save_file({k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}, path)

    @torch.no_grad()
    def codes(self, pictures: np.ndarray) -> np.ndarray:
        """[n, judged labels] of integers as in scenes.LABELS (0: none)."""
        columns = [[score.argmax(1) for score in self._judge(part)] for part in shrink(pictures).split(64)]
        return torch.cat([torch.stack(column, 1) for column in columns]).numpy()

    def describe_all(self, pictures: Sequence[Image.Image]) -> list[Description]:
        """One description for each picture."""
        arrays = np.stack([np.asarray(picture.convert("RGB").resize((128, 128))) for picture in pictures])
        return [
            Description(
                *("" if code == 0 else scenes.LABELS[name][code - 1] for name, code in zip(JUDGED, row, strict=True))
            )
            for row in self.codes(arrays)
        ]

    def describe(self, picture: Image.Image) -> Description:
        """What this picture shows."""
        return self.describe_all([picture])[0]

    def accuracy(self, pictures: np.ndarray, shown: np.ndarray) -> dict[str, float]:
        """Share of right answers on labelled pictures, label by label."""
        codes = self.codes(pictures)
        columns = [list(scenes.LABELS).index(name) for name in JUDGED]
        return {name: float((codes[:, k] == shown[:, columns[k]]).mean().round(4)) for k, name in enumerate(JUDGED)}


def train(
    pictures: np.ndarray, shown: np.ndarray, minutes: float, batch: int = 96, learning_rate: float = 3e-3
) -> Scorer:
    """Train on rendered scenes, some of them softened or noisy so that small flaws do not decide."""
    from tools.pocket.training import Progress

    judge = Judge().to(memory_format=torch.channels_last)
    small = torch.cat([shrink(pictures[at : at + 500]).half() for at in range(0, len(pictures), 500)])
    columns = [list(scenes.LABELS).index(name) for name in JUDGED]
    truth = torch.from_numpy(shown[:, columns].astype(np.int64))
    optimiser = torch.optim.AdamW(judge.parameters(), lr=learning_rate, weight_decay=0.03)
    progress = Progress(minutes, learning_rate, warm_up=5)
    step = 0
    while progress.share < 1:
        optimiser.param_groups[0]["lr"] = progress.learning_rate
        chosen = torch.randint(0, len(small), (batch,))
        images = small[chosen].float()
        if step % 3 == 0:
            images = F.interpolate(F.avg_pool2d(images, 2), size=64, mode="bilinear")
        images = images * (1 + 0.1 * torch.randn(batch, 1, 1, 1)) + 0.06 * torch.rand(1) * torch.randn_like(images)
        with torch.autocast("cpu", torch.bfloat16):
            scores = judge(images.to(memory_format=torch.channels_last))
        loss = sum(F.cross_entropy(score.float(), truth[chosen, k]) for k, score in enumerate(scores))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        if step % 100 == 0:
            log.info("scorer %.1f min, step %d, loss %.3f", progress.spent / 60, step, loss.item())
    return Scorer(judge)
