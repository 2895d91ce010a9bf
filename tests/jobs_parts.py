"""Plans, requests and an output folder for tests of jobs, without any model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from webui.domain.models import Family
from webui.domain.plan import ImagePlan, ModelRef, Plan, PreviewPlan
from webui.domain.request import GenerationRequest
from webui.jobs.runner import ImageEncoded
from webui.storage import replace_file

NO_INPUTS = Path("no-inputs")  # for runners of plans that begin with noise
PATIENCE = 30.0  # seconds; only ever reached when something is broken


def make_plan(images: int = 1, steps: int = 4, batch_size: int = 1, seed: int = 1, size: int = 64) -> Plan:
    return Plan(
        model=ModelRef(
            name="stub", path=Path("stub.safetensors"), family=Family.SD1, layout="original", sha256="0" * 64
        ),
        sampler="Euler",
        schedule="Automatic",
        steps=steps,
        guidance=7.0,
        width=size,
        height=size,
        batch_size=batch_size,
        images=tuple(
            ImagePlan(index=index, seed=seed + index, prompt="a house", negative_prompt="") for index in range(images)
        ),
        preview=PreviewPlan(every=2),
    )


def make_request(seed: int = 1) -> GenerationRequest:
    return GenerationRequest(prompt="a house", seed=seed)


class Folder:
    """An output writer: the next free number, as users see it, so that a duplicate would show."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, plan: Plan, image: ImageEncoded, started: float | None = None) -> str:
        seed = next(planned.seed for planned in plan.images if planned.index == image.index)
        self.root.mkdir(parents=True, exist_ok=True)
        used = [int(path.name.split("-")[0]) for path in self.root.glob("*.png")]
        return f"{max(used, default=-1) + 1:05d}-{seed}.png"

    def write(self, plan: Plan, path: str, image: ImageEncoded) -> str:
        replace_file(self.root / path, image.content)
        return path

    def exists(self, path: str) -> bool:
        return (self.root / path).is_file()

    def tidy(self, unneeded: Iterable[str]) -> None:
        for path in unneeded:
            (self.root / path).unlink()

    @property
    def files(self) -> list[Path]:
        return sorted(self.root.iterdir()) if self.root.exists() else []


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until `condition()` is true; fail, saying for what, when it never comes."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s for {what}"
        time.sleep(0.01)
