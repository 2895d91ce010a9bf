"""What a user can say while a job runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Control:
    """Two flags that any thread may set; the engine looks at them between steps."""

    interrupted: bool = False  # end the job after the current step
    skipped: bool = False  # give up the current batch after the current step; the engine clears it for each batch
