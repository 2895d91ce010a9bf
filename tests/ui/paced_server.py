"""The real application with the stub runner, stopping where a test wants it: `python -m tests.ui.paced_server …`.

The arguments are Easel's own. While `<data folder>/hold` exists, no step from the number it holds begins.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from webui import app
from webui.config import Config
from webui.domain.plan import Plan
from webui.jobs.runner import Runner
from webui.jobs.stub_runner import StubRunner


def build_paced_runner(config: Config) -> Runner:
    hold = config.data_dir / "hold"

    def before_step(job_id: str, plan: Plan, step: int) -> None:
        while step >= _held_from(hold):
            time.sleep(0.01)

    return StubRunner(before_step=before_step)


def _held_from(hold: Path) -> float:
    try:
        return float(hold.read_text())
    except FileNotFoundError:
        return float("inf")


if __name__ == "__main__":
    app.build_runner = build_paced_runner
    sys.exit(app.main(sys.argv[1:]))
