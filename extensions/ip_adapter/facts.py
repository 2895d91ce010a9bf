"""What the worker is told: adapters and image encoders found, pictures in groups that act together."""

from __future__ import annotations

from pathlib import Path

from webui.extending.api import Data

NAME = "ip_adapter"


class Group(Data):
    """Pictures that one adapter tells the model of together, as strongly, and at the same time and place.

    `is_mean`: by the mean of what the encoder sees in them. `pictures` and `region` are references to stored ones.
    """

    name: str
    path: Path
    sha256: str
    encoder: Path
    pictures: tuple[str, ...]
    is_mean: bool
    weight: float
    start: float
    end: float
    region: str | None
    hires: str = "both"  # the passes: "low" is the first, "high" the second

    def acts_in(self, is_second: bool) -> bool:
        """Tell whether the pictures count in the second pass, or else in the first."""
        return self.hires in ("both", "high" if is_second else "low")


class IpAdapterFacts(Data):
    """The groups of a plan, and the picture that takes the place of the negative prompts' nothing."""

    groups: tuple[Group, ...]
    negative: str | None = None
