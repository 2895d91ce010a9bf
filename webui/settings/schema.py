"""What a settings page must know to draw each preference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from webui.settings.preferences import ALIASES, Settings


@dataclass(frozen=True)
class SettingField:
    """What a settings page must know to draw one preference. Limits are None where there are none."""

    name: str
    alias: str
    section: str
    label: str
    description: str
    kind: Literal["boolean", "integer", "number", "string"]
    default: object
    minimum: float | None
    maximum: float | None
    step: float | None
    choices: tuple[str, ...] | None


def setting_fields() -> tuple[SettingField, ...]:
    """Return every preference in the order of the page, from the JSON schema of `Settings`."""
    properties = Settings.model_json_schema(by_alias=False)["properties"]
    return tuple(_setting_field(name, schema) for name, schema in properties.items() if "section" in schema)


def _setting_field(name: str, schema: dict[str, Any]) -> SettingField:
    variants = [schema, *(variant for variant in schema.get("anyOf", ()) if variant.get("type") != "null")]
    merged = {key: value for variant in reversed(variants) for key, value in variant.items()}
    choices = merged.get("enum") or merged.get("choices")
    return SettingField(
        name=name,
        alias=ALIASES[name],
        section=merged["section"],
        label=merged["label"],
        description=merged.get("description", ""),
        kind="string" if merged["type"] == "array" else merged["type"],  # names with commas between
        default=", ".join(merged["default"]) if merged["type"] == "array" else merged.get("default"),
        minimum=merged.get("minimum"),
        maximum=merged.get("maximum"),
        step=merged.get("step"),
        choices=tuple(choices) if choices else None,
    )
