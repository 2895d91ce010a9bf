"""Preferences survive crashes, bad files and strangers' keys; nothing is lost without a word."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from webui.errors import BadRequest, StorageError
from webui.settings import ALIASES, MAX_FILE_BYTES, Settings, SettingsStore, setting_fields


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "settings.json"


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


# The preferences


def test_both_names_are_understood() -> None:
    assert Settings(clip_skip=2) == Settings(**{"CLIP_stop_at_last_layers": 2})
    assert Settings().replace(clip_skip=2).clip_skip == 2


def test_a1111_sees_its_own_names_and_defaults() -> None:
    options = Settings().by_alias()
    assert set(options) == set(ALIASES.values())
    assert options["samples_save"] is True
    assert options["CLIP_stop_at_last_layers"] == 1
    assert options["directories_filename_pattern"] == "[date]"
    assert options["sd_model_checkpoint"] is None
    assert Settings().overridden(options) == Settings()


def test_overrides_are_checked_and_strangers_passed_over() -> None:
    changed = Settings().overridden({"CLIP_stop_at_last_layers": "2", "sd_vae": "x", "preview_every": 3})
    assert (changed.clip_skip, changed.preview_every) == (2, 3)
    with pytest.raises(BadRequest, match="'CLIP_stop_at_last_layers'") as caught:
        Settings().overridden({"CLIP_stop_at_last_layers": 99})
    assert caught.value.field == "clip_skip"


@pytest.mark.parametrize("folder", ["outputs/mine", "outputs/a/b", "outputs\\a", "outputs/a/"])
def test_output_folders(folder: str) -> None:
    assert Settings(outdir_txt2img=folder).outdir_txt2img == folder.replace("\\", "/").rstrip("/")


@pytest.mark.parametrize(
    "folder",
    [
        *("", "outputs", "outputs/", "/outputs/a", "models", "outputs/../models", "outputs//a", "outputs/.easel"),
        *(
            "C:/outputs",
            "outputs/a:b",
            "outputs/a\0",
            "outputs/con",
            "outputs/a.",
            "../outputs/a",
            "outputs/" + "x" * 300,
        ),
    ],
)
def test_output_folders_elsewhere_are_refused(folder: str) -> None:
    with pytest.raises(ValidationError):
        Settings(outdir_txt2img=folder)


def test_the_page_knows_every_preference() -> None:
    fields = {field.name: field for field in setting_fields()}
    assert set(fields) == Settings.model_fields.keys() - {"extensions"}  # each has a section of its own
    assert all(field.section and field.label for field in fields.values())
    clip_skip = fields["clip_skip"]
    assert (clip_skip.alias, clip_skip.kind, clip_skip.default) == ("CLIP_stop_at_last_layers", "integer", 1)
    assert (clip_skip.minimum, clip_skip.maximum, clip_skip.step) == (1, 12, 1)
    assert (fields["model"].kind, fields["model"].default, fields["model"].choices) == ("string", None, None)
    assert fields["save_images"].kind == "boolean"


# The store


def test_a_new_store_has_defaults_and_writes_nothing(path: Path) -> None:
    store = SettingsStore(path)
    assert store.snapshot() == Settings()
    assert store.problem is None
    assert not path.parent.exists()


def test_changes_stay(path: Path) -> None:
    store = SettingsStore(path)
    before = store.snapshot()
    assert store.change({"samples_save": False}, clip_skip=2).clip_skip == 2
    assert before == Settings()
    again = SettingsStore(path)
    assert again.snapshot() == store.snapshot() == Settings(clip_skip=2, save_images=False)
    assert again.problem is None
    assert json.loads(path.read_bytes())["CLIP_stop_at_last_layers"] == 2


def test_the_whole_options_object_can_be_posted_back(path: Path) -> None:
    store = SettingsStore(path)
    options = {**store.snapshot().by_alias(), "sd_model_checkpoint": "pocket"}
    assert store.change(options).model == "pocket"


def test_unknown_names_are_refused_or_ignored(path: Path) -> None:
    store = SettingsStore(path)
    with pytest.raises(BadRequest, match="Did you mean 'clip_skip'"):
        store.change({"clip_skp": 2, "save_images": False})
    assert store.snapshot() == Settings()
    for name in ("self", "ignore_unknown", "changes", "__proto__", ""):
        store.change({name: 1, "clip_skip": 3}, ignore_unknown=True)
    assert store.snapshot() == Settings(clip_skip=3)
    assert "__proto__" not in path.read_text()


@pytest.mark.parametrize("value", [0, 13, "many", None, [], {}, 1.5, float("nan"), 10**400, "9" * 5000, "\ud800"])
def test_bad_values_change_nothing(path: Path, value: object) -> None:
    store = SettingsStore(path)
    with pytest.raises(BadRequest) as caught:
        store.change({"save_images": False, "CLIP_stop_at_last_layers": value})
    assert caught.value.field == "clip_skip"
    assert store.snapshot() == Settings()
    assert not path.exists()


def test_a_full_disk_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SettingsStore(path)
    store.change(clip_skip=2)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageError, match="the disk is full"):
            store.change(clip_skip=3)
    assert store.snapshot().clip_skip == SettingsStore(path).snapshot().clip_skip == 2
    assert names(path) == ["settings.json"]
    store.change(clip_skip=4)
    assert SettingsStore(path).snapshot().clip_skip == 4


def test_strangers_keys_are_kept(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps({"sd_vae": "x", "a": {"b": [1, None]}, "odd": "\ud800", "CLIP_stop_at_last_layers": 2}))
    store = SettingsStore(path)
    assert store.problem is None
    store.change(clip_skip=3)
    written = json.loads(path.read_bytes())
    assert (written["sd_vae"], written["a"], written["odd"]) == ("x", {"b": [1, None]}, "\ud800")
    assert written["CLIP_stop_at_last_layers"] == 3


def test_threads_changing_at_once_lose_nothing(path: Path) -> None:
    store = SettingsStore(path)
    changes: list[dict[str, Any]] = [{"clip_skip": 5}, {"preview_every": 9}, {"save_text": True}, {"prompt_words": 3}]
    threads = [threading.Thread(target=store.change, args=(change,)) for change in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = Settings(clip_skip=5, preview_every=9, save_text=True, prompt_words=3)
    assert store.snapshot() == SettingsStore(path).snapshot() == expected


# Bad files

CORRUPT: dict[str, bytes] = {
    "empty": b"",
    "brace": b"{",
    "cut": b'{"samples_save": tr',
    "zeros": b"\0" * 100,
    "utf-16": '{"samples_save": false}'.encode("utf-16"),
    "array": b"[1, 2]",
    "number": b"7",
    "deep": b'{"a":' + b"[" * 100_000,
    "large": b'{"a": "' + b"x" * MAX_FILE_BYTES + b'"}',
    "digits": b'{"a": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("name", CORRUPT)
def test_a_corrupt_file_is_kept_aside_and_told(path: Path, name: str) -> None:
    path.parent.mkdir()
    path.write_bytes(CORRUPT[name])
    store = SettingsStore(path)
    assert store.snapshot() == Settings()
    (aside,) = path.parent.iterdir()
    assert aside.name.startswith("settings.json.corrupt-")
    assert aside.read_bytes() == CORRUPT[name]
    assert store.problem is not None
    assert str(aside) in store.problem and "Defaults are in use." in store.problem
    store.change(clip_skip=2)
    assert SettingsStore(path).problem is None
    assert aside.exists()


def test_the_last_good_settings_come_back(path: Path) -> None:
    store = SettingsStore(path)
    store.change(clip_skip=2)
    store.change(clip_skip=3)
    path.write_bytes(b"{torn")
    again = SettingsStore(path)
    assert again.snapshot().clip_skip == 2
    assert again.problem is not None and "The last good settings are in use." in again.problem
    third = SettingsStore(path)
    assert (third.snapshot().clip_skip, third.problem) == (2, None)


def test_a_corrupt_backup_is_no_help_and_no_harm(path: Path) -> None:
    store = SettingsStore(path)
    store.change(clip_skip=2)
    store.change(clip_skip=3)
    path.write_bytes(b"{torn")
    path.with_name("settings.json.backup").write_bytes(b"{torn too")
    again = SettingsStore(path)
    assert again.snapshot() == Settings()
    assert again.problem is not None and "Defaults are in use." in again.problem


def test_single_bad_values_are_reset_and_told(path: Path) -> None:
    path.parent.mkdir()
    content = b'{"CLIP_stop_at_last_layers": 99, "samples_save": "perhaps", "show_progress_every_n_steps": 7}'
    path.write_bytes(content)
    store = SettingsStore(path)
    assert store.snapshot() == Settings(preview_every=7)
    assert store.problem is not None
    assert "'CLIP_stop_at_last_layers'" in store.problem and "'samples_save'" in store.problem
    (aside,) = path.parent.glob("settings.json.corrupt-*")
    assert aside.read_bytes() == content
    assert str(aside) in store.problem
    again = SettingsStore(path)
    assert (again.snapshot(), again.problem) == (Settings(preview_every=7), None)


def test_a_folder_in_the_files_place_is_moved_aside(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "inside").touch()
    store = SettingsStore(path)
    assert store.problem is not None
    store.change(clip_skip=2)
    assert SettingsStore(path).snapshot().clip_skip == 2
    assert [entry.name for entry in path.parent.glob("*/inside")] == ["inside"]


def test_what_cannot_be_moved_aside_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir()
    path.write_bytes(b"{torn")

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", read_only)
    store = SettingsStore(path)
    assert store.problem is not None and "the disk is read-only" in store.problem
    with pytest.raises(StorageError):
        store.change(clip_skip=2)
    assert path.read_bytes() == b"{torn"


@given(st.integers(0, 2000), st.binary(max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_any_damage_leaves_settings_and_the_old_file(path: Path, place: int, damage: bytes) -> None:
    for entry in path.parent.glob("*"):
        entry.unlink()
    first = SettingsStore(path)
    first.change(clip_skip=2, preview_every=7)
    first.change(clip_skip=3)
    content = path.read_bytes()
    place %= len(content)
    damaged = content[:place] + damage + content[place + len(damage) + 1 :]
    path.write_bytes(damaged)
    store = SettingsStore(path)
    assert store.problem is None or any(entry.read_bytes() == damaged for entry in path.parent.glob("*.corrupt-*"))
    if store.problem is None:
        assert path.read_bytes() == damaged
    assert SettingsStore(path).problem is None
    store.change(save_text=True)
    assert SettingsStore(path).snapshot() == store.snapshot()


def test_formats_answer_to_both_names_of_jpeg_and_to_what_pillow_can_write(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().overridden({"samples_format": "jpeg", "grid_format": "avif"}).image_format == "jpg"
    monkeypatch.setattr("webui.settings.preferences.features.check", lambda name: False)
    with pytest.raises(BadRequest, match=r"samples_format.*without AVIF.*choose webp"):
        Settings().overridden({"samples_format": "avif"})
