"""What the user prefers: frozen snapshots for whoever needs one, and the store that keeps them on the disk."""

from __future__ import annotations

from webui.settings.preferences import ALIASES, NAMES, Settings
from webui.settings.schema import SettingField, setting_fields
from webui.settings.store import MAX_FILE_BYTES, SettingsStore

__all__ = ["ALIASES", "MAX_FILE_BYTES", "NAMES", "SettingField", "Settings", "SettingsStore", "setting_fields"]
