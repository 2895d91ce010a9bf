"""Installing in two steps, updating, going back, switching, removing and restoring, as the page asks for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.extending.sources import commit_all, make_wheel, zipped
from tests.extending.strangers import SCRIPT, clean_modules, put
from webui.domain.extensions import FromFolder, FromGit, FromZip, Inspection
from webui.errors import BadRequest, Busy, EaselError, NotAllowed, NotFound
from webui.extending.installing.fetching import Fetcher
from webui.extending.installing.installer import Installer
from webui.extending.installing.limits import Limits
from webui.extending.installing.repositories import Repositories
from webui.extending.startup import Homes, start_extensions

LIMITS = Limits(seconds=30)
FETCHER = Fetcher(LIMITS, Repositories(LIMITS, ("file",)))


class Program:
    """What a start of the program makes of a data folder."""

    def __init__(self, folder: Path, refusal: str = "") -> None:
        self.homes = Homes(folder / "bundled", folder / "extensions", folder / "state")
        self.started = start_extensions(self.homes, "all", 10)
        self.installer = Installer(self.started, refusal=refusal, fetcher=FETCHER, seconds=3)

    @property
    def active(self) -> list[str]:
        return [each.name for each in self.started.extensions.active]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.homes.user.glob("*"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with clean_modules():
        yield tmp_path


@pytest.fixture
def program(folder: Path) -> Program:
    put(folder / "bundled", "lora")
    return Program(folder)


def restart(program: Program) -> Program:
    with clean_modules():
        return Program(program.homes.state.parent)


def origin(folder: Path, name: str = "thing", **files: str) -> Path:
    made = put(folder / "origins", name, **files)
    commit_all(made)
    return made


def ask(folder: Path, ref: str = "") -> FromGit:
    return FromGit(address=folder.as_uri(), ref=ref)


def test_nothing_is_installed_or_run_before_the_yes(program: Program, folder: Path) -> None:
    ran = folder / "ran"
    code = SCRIPT.format(name="thing", imports=f"import os\nos.makedirs({str(ran)!r}, exist_ok=True)")
    manifest = json.dumps({"title": "A thing", "version": "1.2", "permissions": ["network"], "author": "A"})
    made = put(folder / "origins", "thing", code, easel__json=manifest, requirements__txt="numpy\n")
    (made / "install.py").write_text(f"open({str(ran)!r}, 'w')")
    commit = commit_all(made)
    inspection = program.installer.fetch(ask(made))
    assert (inspection.title, inspection.version, inspection.author) == ("A thing", "1.2", "A")
    assert (inspection.source.commit, inspection.source.address) == (commit, made.as_uri())
    assert inspection.permissions == ("network",) and inspection.packages == ("numpy",)
    assert inspection.files == ("easel.json", "extension.py", "install.py", "requirements.txt")
    assert "install.py" in inspection.notes[0]
    assert program.files() == [] and not ran.exists()
    assert program.installer.overview().waiting == (inspection,)
    view = program.installer.accept(inspection.id)
    assert (view.state, view.source.commit, view.problem) == ("waiting", commit, "")
    assert [(each.kind, each.names) for each in view.additions] == [("scripts", ("thing",))]
    assert ran.exists()  # in the trial
    assert program.installer.overview().needs_restart and program.installer.overview().waiting == ()
    assert restart(program).active == ["lora", "thing"]
    assert not (folder / "state" / "fetched").exists()


def test_what_is_no_extension_is_never_replaced(program: Program, folder: Path) -> None:
    (program.homes.user / "notes").mkdir(parents=True)
    put(program.homes.user, "Thing")
    made = put(folder, "thing")
    for name in ("notes", "thing"):
        with pytest.raises(BadRequest) as caught:
            program.installer.fetch(FromFolder(address=str(made), name=name))
        assert caught.value.field == "name"


def test_what_was_fetched_can_be_refused(program: Program, folder: Path) -> None:
    inspection = program.installer.fetch(FromFolder(address=str(put(folder, "thing"))))
    program.installer.reject(inspection.id)
    assert program.files() == [] and list(program.homes.fetched.iterdir()) == []
    for number in (inspection.id, "../../x", ""):
        with pytest.raises(NotFound):
            program.installer.accept(number)


def test_zips_are_taken_from_files_and_uploads(program: Program, folder: Path) -> None:
    content = zipped({"thing-main/extension.py": SCRIPT.format(name="a", imports="")})
    (folder / "thing.zip").write_bytes(content)
    first = program.installer.fetch(FromZip(address=str(folder / "thing.zip"), name="first"))
    second = program.installer.fetch_zip([content[:10], content[10:]], "../../up-loaded.zip")
    assert (first.folder, second.folder) == ("first", "up-loaded")
    assert first.source.commit == second.source.commit
    with pytest.raises(EaselError, match=r"extension\.py"):
        program.installer.fetch_zip([zipped({"readme.md": "x"})], "no.zip")
    assert len(list(program.homes.fetched.iterdir())) == 2


def test_an_extension_that_fails_is_there_with_its_reason_and_log(program: Program, folder: Path) -> None:
    bad = put(folder / "origins", "bad", "print('so far')\nraise ValueError('broken')")
    commit_all(bad)
    view = program.installer.accept(program.installer.fetch(ask(bad)).id)
    assert view.state == "failed" and "broken" in view.problem and "so far" in view.log
    again = restart(program)
    assert again.active == ["lora"]
    shown = again.installer.view("bad")
    assert shown.state == "failed" and "broken" in shown.problem and "so far" in shown.log
    (program.homes.user / "bad" / "extension.py").write_text("def register(api): pass  # mended by hand")
    assert again.installer.view("bad").state == "waiting"
    assert again.installer.try_again("bad").problem == ""


def test_updates_show_what_changes_and_can_be_taken_back(program: Program, folder: Path) -> None:
    made = origin(folder)
    program.installer.accept(program.installer.fetch(ask(made, "main")).id)
    assert program.installer.look_for_update("thing") is None
    old = program.installer.view("thing").source.commit
    (made / "new.txt").write_text("new")
    new = commit_all(made)
    update = program.installer.look_for_update("thing")
    assert update is not None and update.replaces is not None
    assert (update.replaces.commit, update.source.commit, update.changed) == (old, new, ("+ new.txt",))
    view = program.installer.accept(update.id)
    assert view.source.commit == new and view.can_roll_back
    view = program.installer.roll_back("thing")
    assert view.source.commit == old and not (program.homes.user / "thing" / "new.txt").exists()
    assert program.installer.roll_back("thing").source.commit == new


def test_files_of_the_users_stay_through_updates_and_back(program: Program, folder: Path) -> None:
    made = origin(folder, words__txt="theirs")
    program.installer.accept(program.installer.fetch(ask(made)).id)
    installed = program.homes.user / "thing"
    (installed / "lists").mkdir()
    (installed / "lists" / "mine.txt").write_text("mine")
    (installed / "words.txt").write_text("changed by hand")
    (made / "words.txt").unlink()
    commit_all(made)
    update = program.installer.look_for_update("thing")
    assert update is not None and update.changed == ("- words.txt",)
    program.installer.accept(update.id)
    assert (installed / "lists" / "mine.txt").read_text() == "mine"
    assert not (installed / "words.txt").exists()  # theirs, so it goes; the previous version has it
    program.installer.roll_back("thing")
    assert (installed / "words.txt").read_text() == "changed by hand"
    trash = program.installer.remove("thing")
    assert (trash / "files" / "lists" / "mine.txt").is_file() and (trash / "listing.json").is_file()


def test_an_update_that_breaks_is_taken_back_at_once(program: Program, folder: Path) -> None:
    made = origin(folder)
    old = program.installer.accept(program.installer.fetch(ask(made)).id)
    program = restart(program)
    (made / "extension.py").write_text("import time\ntime.sleep(99)")
    commit_all(made)
    update = program.installer.look_for_update("thing")
    assert update is not None
    with pytest.raises(BadRequest, match="had not registered"):
        program.installer.accept(update.id)
    view = program.installer.view("thing")
    assert (view.source, view.state, view.can_roll_back) == (old.source, "active", False)
    assert restart(program).active == ["lora", "thing"]


def test_a_pinned_commit_stays(program: Program, folder: Path) -> None:
    made = origin(folder)
    first = commit_all(made)
    commit_all(made)
    view = program.installer.accept(program.installer.fetch(ask(made, first)).id)
    assert view.source.commit == first
    assert program.installer.look_for_update("thing") is None


def test_extensions_are_switched_and_removed_into_the_trash(program: Program, folder: Path) -> None:
    put(program.homes.user, "mine")
    program = restart(program)
    assert program.installer.enable("mine", False).state == "waiting"
    assert program.installer.enable("lora", False).state == "waiting"
    program = restart(program)
    assert program.active == []
    assert {each.folder: each.state for each in program.installer.overview().extensions} == {
        "lora": "disabled",
        "mine": "disabled",
    }
    with pytest.raises(NotAllowed, match="Switch it off"):
        program.installer.remove("lora")
    trash = program.installer.remove("mine")
    assert (trash / "files" / "extension.py").is_file() and program.files() == []
    for name in ("mine", "..", "../bundled/lora", "/etc"):
        with pytest.raises(NotFound):
            program.installer.remove(name)


def test_a_saved_state_comes_back(program: Program, folder: Path) -> None:
    made = origin(folder)
    old = program.installer.accept(program.installer.fetch(ask(made, "main")).id).source.commit
    program.installer.save_state("good")
    (made / "new.txt").write_text("new")
    commit_all(made)
    update = program.installer.look_for_update("thing")
    assert update is not None
    program.installer.accept(update.id)
    put(program.homes.user, "later")
    program.installer.enable("lora", False)
    assert program.installer.restore_state("good") == ()
    (waiting,) = program.installer.overview().waiting
    assert waiting.source.commit == old
    program.installer.accept(waiting.id)
    again = restart(program)
    assert again.active == ["lora", "thing"]
    assert again.installer.view("thing").source == waiting.source
    again.installer.remove("thing")
    assert again.installer.restore_state("good") == ()
    assert [each.folder for each in again.installer.overview().waiting] == ["thing"]
    again.installer.delete_state("good")
    with pytest.raises(NotFound):
        again.installer.restore_state("good")


def test_packages_come_and_go_with_their_extension(
    program: Program, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(folder / "wheels", "easel_test_gem", "1.0", "VALUE = 'gem'")
    make_wheel(folder / "wheels", "torch", "1.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder / "wheels"))
    code = SCRIPT.format(name="thing", imports="import easel_test_gem")
    made = put(folder / "origins", "thing", code, requirements__txt="easel-test-gem==1.0")
    commit_all(made)
    view = program.installer.accept(program.installer.fetch(ask(made)).id)
    assert view.problem == "" and view.packages == ("easel-test-gem==1.0",)
    assert restart(program).active == ["lora", "thing"]
    (made / "requirements.txt").write_text("torch==1.0")
    commit_all(made)
    update = program.installer.look_for_update("thing")
    assert update is not None
    with pytest.raises(BadRequest, match="pip says"):
        program.installer.accept(update.id)
    assert restart(program).active == ["lora", "thing"]
    trash = restart(program).installer.remove("thing")
    assert (trash / "overlay" / "easel_test_gem.py").is_file()
    assert list(program.homes.overlays.iterdir()) == []


def test_nothing_may_be_changed_where_it_is_refused(folder: Path) -> None:
    put(folder / "extensions", "mine")
    program = Program(folder, refusal="Not over the network.")
    installer = program.installer
    attempts = [
        lambda: installer.fetch(FromFolder(address="/tmp")),
        lambda: installer.fetch_zip([b""], "x.zip"),
        lambda: installer.accept("x"),
        lambda: installer.reject("x"),
        lambda: installer.look_for_update("mine"),
        lambda: installer.enable("mine", False),
        lambda: installer.try_again("mine"),
        lambda: installer.roll_back("mine"),
        lambda: installer.remove("mine"),
        lambda: installer.save_state("x"),
        lambda: installer.restore_state("x"),
        lambda: installer.delete_state("x"),
        lambda: installer.read_index("/tmp/x.json"),
    ]
    for attempt in attempts:
        with pytest.raises(NotAllowed, match="network"):
            attempt()
    assert installer.overview().refusal and installer.view("mine").is_enabled


def test_one_change_at_a_time(program: Program, folder: Path) -> None:
    def chunks() -> Iterator[bytes]:
        with pytest.raises(Busy):
            program.installer.enable("lora", False)
        yield zipped({"extension.py": ""})

    assert isinstance(program.installer.fetch_zip(chunks(), "x.zip"), Inspection)
