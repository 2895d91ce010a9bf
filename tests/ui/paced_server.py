"""The real application with the stub runner, stopping where a test wants it: `python -m tests.ui.paced_server …`.

The arguments are Easel's own. While `<data folder>/hold` exists, no step from the number it holds begins; the image
with the seed in `<data folder>/fail` cannot be made.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from webui import app
from webui.config import Config
from webui.domain.events import ImageFailed
from webui.domain.plan import AnyPlan
from webui.extending.loader import Extensions
from webui.jobs.runner import ImageEncoded, Message, Runner
from webui.jobs.stub_runner import StubRunner


class PacedRunner(StubRunner):
    """Draws as the stub does, but waits and fails as the files in `folder` say."""

    def __init__(self, folder: Path) -> None:
        super().__init__(before_step=self._wait_for_release)
        self._hold, self._fail = folder / "hold", folder / "fail"

    def run(self, job_id: str, plan: AnyPlan) -> Iterator[Message]:
        seed = _read(self._fail)
        for message in super().run(job_id, plan):
            match message:
                case ImageEncoded(role="image", index=index) if plan.image(index).seed == seed:
                    yield ImageFailed(index=index, message="It holds no numbers.", hint="Try another seed.")
                case _:
                    yield message

    def _wait_for_release(self, job_id: str, plan: AnyPlan, step: int) -> None:
        while step >= _read(self._hold):
            time.sleep(0.01)


def _read(path: Path) -> float:
    """Return the number in a file; infinity without one."""
    try:
        return float(path.read_text())
    except FileNotFoundError:
        return float("inf")


def build_paced_runner(config: Config, extensions: Extensions) -> Runner:
    return PacedRunner(config.data_dir)


if __name__ == "__main__":
    app.build_runner = build_paced_runner
    sys.exit(app.main(sys.argv[1:]))
