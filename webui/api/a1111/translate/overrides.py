"""`override_settings`: settings for one request, never for the next."""

from __future__ import annotations

from webui.api.a1111.schemas.processing import Processing
from webui.errors import BadRequest
from webui.settings import ALIASES, NAMES

OF_THE_REQUEST = ("sd_model_checkpoint", "sd_vae")
"""Options that are fields of our request."""


def read_overrides(asked: Processing) -> dict[str, object]:
    """Return the overrides under A1111's names; null means none."""
    wanted: dict[str, object] = {}
    for name, value in asked.override_settings.items():
        if name in NAMES or name in OF_THE_REQUEST:
            wanted[ALIASES[NAMES[name]] if name in NAMES else name] = value
        else:
            raise BadRequest(
                f"override_settings.{name}: there is no such setting.",
                hint="GET /sdapi/v1/options lists them; leave this one out.",
                field=f"override_settings.{name}",
            )
    wanted = {name: value for name, value in wanted.items() if value is not None}
    for name in OF_THE_REQUEST:
        if not isinstance(wanted.get(name, ""), str):
            raise BadRequest(
                f"override_settings.{name} must be a text.",
                hint="Send the name of a file as the lists show it.",
                field=f"override_settings.{name}",
            )
    if wanted and not asked.override_settings_restore_afterwards:
        raise BadRequest(
            "override_settings_restore_afterwards: overrides hold for one request only.",
            hint="To keep them, POST them to /sdapi/v1/options.",
            field="override_settings_restore_afterwards",
        )
    return wanted
