"""The start with strangers' extensions: tried apart, remembered, and never able to keep the others from starting."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.extending.strangers import HOSTILE, SCRIPT, clean_modules, put, put_hostile
from webui.config import REPOSITORY
from webui.extending import startup
from webui.extending.bundled import BUNDLED
from webui.extending.ledger import Ledger
from webui.extending.places import find_places
from webui.extending.startup import Homes, Started, Which, start_extensions

LIMIT = 4.0  # seconds; a trial's own start takes a part of them


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[Homes]:
    with clean_modules():
        yield Homes(tmp_path / "bundled", tmp_path / "extensions", tmp_path / "state")


def start(homes: Homes, which: Which = "all") -> Started:
    return start_extensions(homes, which, LIMIT)


def names(started: Started) -> list[str]:
    return [each.name for each in started.extensions.active]


def test_hostile_extensions_are_switched_off_each_with_its_reason(homes: Homes) -> None:
    put_hostile(homes.user)
    put(homes.user, "good")
    put(homes.bundled, "lora")
    started = start(homes)
    assert names(started) == ["lora", "good"]
    for name, (_, reason) in HOSTILE.items():
        assert reason in started.failures[name].problem, name
        assert any(name in problem and reason in problem for problem in started.extensions.problems), name
    log = started.failures["infinite_loop"].log
    assert 'extension.py", line 1 in <module>' in log  # where it was


def test_what_is_printed_is_kept_and_limited(homes: Homes) -> None:
    loud = "import sys\nfor _ in range(2000): print('loud ' * 20)\nprint('the end', file=sys.stderr)\nraise ValueError"
    put(homes.user, "loud", loud)
    flood = "while True: print('x' * 100000)"
    put(homes.user, "flood", flood)
    started = start(homes)
    assert len(started.failures["loud"].log) < 40_000
    assert "the end" in started.failures["loud"].log and "left out" in started.failures["loud"].log
    assert "printed more" in started.failures["flood"].problem


def test_a_trial_is_remembered_until_something_changes(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    put(homes.user, "bad", "raise ValueError('once')")
    good = put(homes.user, "good")
    start(homes)
    tried: list[str] = []
    real = startup.try_all
    monkeypatch.setattr(
        startup, "try_all", lambda found, seconds: tried.extend(e.place.name for e in found) or real(found, seconds)
    )
    assert "once" in start(homes).failures["bad"].problem
    assert tried == []
    with clean_modules():
        (good / "extension.py").write_text("raise ValueError('twice')")
        os.utime(good / "extension.py", ns=(1, 1))
        assert "twice" in start(homes).failures["good"].problem
    assert tried == ["good"]


def test_what_the_program_ended_at_is_off_the_next_time(homes: Homes) -> None:
    put(homes.user, "a")
    put(homes.user, "b")
    Ledger(homes.ledger).change(starting="a")  # as a start leaves it that never came back
    started = start(homes)
    assert names(started) == ["b"]
    assert "ended while it was loading" in started.failures["a"].problem
    assert names(start(homes)) == ["b"]


def test_a_stranger_that_does_other_things_in_the_server_than_in_its_trial_is_left_out(homes: Homes) -> None:
    probing = "getattr(sys.modules['__main__'].__spec__, 'name', '') == 'webui.extending.probe'"
    code = SCRIPT.format(name="two-faced", imports=f"import sys\nif not {probing}: raise ValueError('now')")
    put(homes.user, "two_faced", code)
    put(homes.user, "good")
    started = start(homes)
    assert names(started) == ["good"]
    assert "now" in started.failures["two_faced"].problem


@pytest.mark.parametrize(("which", "loaded"), [("all", ["lora", "mine"]), ("bundled", ["lora"]), ("none", [])])
def test_flags_say_which_are_loaded(homes: Homes, which: Which, loaded: list[str]) -> None:
    put(homes.bundled, "lora")
    put(homes.user, "mine")
    assert names(start(homes, which)) == loaded


def test_what_is_off_is_not_even_tried(homes: Homes, tmp_path: Path) -> None:
    put(homes.user, "off", f"open({str(tmp_path / 'ran')!r}, 'w')\nraise ValueError")
    Ledger(homes.ledger).change_record("off", is_enabled=False)
    assert start(homes).extensions.problems == ()
    assert not (tmp_path / "ran").exists()


def test_one_folder_may_hold_the_programs_and_the_users(tmp_path: Path) -> None:
    homes = Homes(tmp_path / "extensions", tmp_path / "extensions", tmp_path / "state")
    put(homes.user, "lora")
    put(homes.user, "mine")
    with clean_modules():
        active = start(homes).extensions.active
    assert [(each.name, each.is_bundled) for each in active] == [("lora", True), ("mine", False)]


def test_nobody_takes_the_name_of_another(homes: Homes) -> None:
    put(homes.bundled, "lora")
    put(homes.user, "lora")
    put(homes.user, "a-b")
    put(homes.user, "a_b")
    started = start(homes)
    assert names(started) == ["lora", "a_b"]
    assert [each.is_bundled for each in started.extensions.active] == [True, False]
    assert all("already an extension" in failure.problem for failure in started.failures.values())
    assert len(started.failures) == 2


@pytest.mark.parametrize("what", ["folder", "file", "inner"])
def test_links_out_of_the_folder_are_refused(homes: Homes, tmp_path: Path, what: str) -> None:
    outside = put(tmp_path / "elsewhere", "other")
    homes.user.mkdir()
    if what == "folder":
        (homes.user / "linked").symlink_to(outside)
    else:
        inner = put(homes.user, "linked")
        (inner / "extension.py").unlink() if what == "file" else None
        target = outside / "extension.py" if what == "file" else Path("/etc")
        (inner / ("extension.py" if what == "file" else "javascript")).symlink_to(target)
    started = start(homes)
    assert names(started) == []
    assert "link" in started.failures["linked"].problem


def test_required_extensions_come_first_or_their_lack_is_said(homes: Homes) -> None:
    put(homes.user, "a", easel__json=json.dumps({"requires": ["z"]}))
    put(homes.user, "b", metadata__ini="[Extension]\nName = bee\nRequires = nowhere\n")
    put(homes.user, "c", easel__json=json.dumps({"requires": ["bee"]}))
    put(homes.user, "z")
    put(homes.user, "future", easel__json=json.dumps({"api": 99}))
    put(homes.user, "odd", easel__json="{")
    started = start(homes)
    assert names(started) == ["z", "a"]
    assert "nowhere" in started.failures["b"].problem
    assert "bee" in started.failures["c"].problem
    assert "99" in started.failures["future"].problem
    assert "easel.json" in started.failures["odd"].problem


def test_of_a1111s_layout_only_what_a_page_may_have_is_taken(homes: Homes, tmp_path: Path) -> None:
    folder = homes.user / "sd-webui-thing"
    for name in ("scripts/thing.py", "javascript/thing.js", "javascript/notes.txt", "localizations/de.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')" if name.endswith("py") else "{}")
    (folder / "install.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (folder / "style.css").write_text("")
    (folder / "metadata.ini").write_text("[Extension]\nName = thing\n[scripts]\nAfter = other\n")
    (extension,) = start(homes).extensions.active
    assert (extension.name, extension.title, extension.api) == ("sd_webui_thing", "thing", None)
    assert [path.name for path in extension.javascript] == ["thing.js"]
    assert [path.name for path in (*extension.styles, *extension.localizations)] == ["style.css", "de.json"]
    assert not (tmp_path / "ran").exists()
    (found,) = find_places(homes.bundled, homes.user, homes.overlays)
    assert found.manifest.after == ("other",)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"records": 1}', b"\xff" * 100, b"[" * 100_000])
def test_a_broken_ledger_is_set_aside(homes: Homes, content: bytes) -> None:
    put(homes.user, "good")
    homes.state.mkdir()
    homes.ledger.write_bytes(content)
    started = start(homes)
    assert names(started) == ["good"]
    assert "extensions.broken.json" in started.extensions.problems[0]
    assert homes.ledger.with_suffix(".broken.json").read_bytes() == content


def test_the_list_of_what_comes_with_the_program_is_whole() -> None:
    folder = REPOSITORY / "extensions"
    listed = subprocess.run(["git", "ls-files", "--", "*/extension.py"], cwd=folder, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a checkout")
    assert sorted(Path(line).parts[0] for line in listed.stdout.splitlines()) == sorted(BUNDLED)


def test_a_ledger_that_cannot_be_written_keeps_nobody_from_being_tried(homes: Homes) -> None:
    put(homes.user, "bad", "raise ValueError('tried')")
    put(homes.user, "good")
    homes.state.mkdir()
    homes.ledger.mkdir()  # a folder in its place: it can be neither read nor written
    homes.ledger.with_suffix(".broken.json").mkdir()
    (homes.ledger.with_suffix(".broken.json") / "full").touch()
    started = start(homes)
    assert names(started) == ["good"]
    assert "tried" in started.failures["bad"].problem
