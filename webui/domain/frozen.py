"""The base of all domain data."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from typing_extensions import Self


class Data(BaseModel):
    """Immutable, strict about names, picklable and JSON-able; `replace` makes a checked copy."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy (pydantic's `model_copy` accepts nonsense)."""
        return type(self)(**{**dict(self), **changes})
