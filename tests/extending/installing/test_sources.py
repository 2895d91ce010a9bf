"""What may be fetched, from where, and what is refused before anything of it becomes a file or runs."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.extending.sources import commit_all, git, make_certificate, serve_https, trust, zipped
from tests.extending.strangers import put
from webui.domain.extensions import FromFolder, FromZip
from webui.errors import BadRequest, EaselError
from webui.extending.installing.addresses import check_address, check_ref, folder_name
from webui.extending.installing.archives import unpack
from webui.extending.installing.catalogues import read_index
from webui.extending.installing.downloads import Downloads
from webui.extending.installing.fetching import Fetcher
from webui.extending.installing.inspecting import inspect
from webui.extending.installing.limits import Limits
from webui.extending.installing.repositories import Repositories, read_checkout

SMALL = Limits(download=100_000, size=200_000, files=20, seconds=20)
FOR_TESTS = Repositories(SMALL, ("file",))

ADDRESSES = [
    "", " ", "file:///etc/passwd", "ext::sh -c id", "ssh://host/x", "git://host/x", "http://host/x", "git@host:x/y",
    "/etc", "--upload-pack=touch x", "-u x", "https://", "https:///x", "https://h/$HOME", "https://u:p@host/x",
    "https://u@host/x", "https://host/a b", "https://host/a\nb", "https://host\\x", "HTTP://host/x", "https://%6cocalhost/",
    "https://[::1/x", "https://host:99999/x", "fd::17/foo", "transport::https://host/x", "javascript:alert(1)",
]  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_that_are_not_https_are_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(BadRequest) as caught:
        Repositories().fetch(address, "", tmp_path / "target")
    assert caught.value.field == "address"
    assert not (tmp_path / "target").exists()  # no git was started
    if "://" in address:
        with pytest.raises(BadRequest):
            list(Downloads().fetch(address, 1000))


def test_a_good_address_passes() -> None:
    assert check_address(" https://github.com/a/b.git ") == "https://github.com/a/b.git"


@pytest.mark.parametrize(
    "ref", ["--config=x", "-x", "a..b", "a b", "a:b", "+a", "a\nb", "x" * 300, "a.lock", "^a", "a~1"]
)
def test_refs_that_git_could_take_for_more_are_refused(ref: str) -> None:
    with pytest.raises(BadRequest):
        check_ref(ref)


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", ".", "..", "", "x" * 300, "CON", "a\\b", "a:b", "-x", ".git", "__pycache__", "lora", "a\0b", "x."],
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        folder_name(name, "https://host/" + name if not name else "https://host/fine")
    assert caught.value.field == "name"


def test_an_address_names_the_folder() -> None:
    assert folder_name("", "https://github.com/a/sd-webui-thing.git") == "sd-webui-thing"
    assert folder_name("", "https://host/x/thing.zip") == "thing"
    with pytest.raises(BadRequest):
        folder_name("", "https://host/..%2f..%2fetc")


# Repositories


def repository(folder: Path) -> str:
    return folder.as_uri()


def test_a_repository_is_fetched_at_a_branch_a_tag_or_a_commit(tmp_path: Path) -> None:
    folder = put(tmp_path, "origin", "VERSION = 1\n")
    first = commit_all(folder)
    git(folder, "tag", "v1")
    (folder / "extension.py").write_text("VERSION = 2\n")
    second = commit_all(folder)
    for number, (ref, commit) in enumerate([("", second), ("main", second), ("v1", first), (first, first)]):
        target = tmp_path / f"target{number}"
        source, notes = FOR_TESTS.fetch(repository(folder), ref, target)
        assert (source.commit, source.ref, notes) == (commit, ref, ())
        assert sorted(path.name for path in target.iterdir()) == ["extension.py"]  # and no .git
        assert FOR_TESTS.newest(repository(folder), ref, tmp_path) == commit
    with pytest.raises(BadRequest, match="git could not fetch"):
        FOR_TESTS.fetch(repository(folder), "no-such-branch", tmp_path / "other")


def test_nothing_of_a_repository_runs(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    script = f"#!/bin/sh\ntouch {ran}\n"
    folder = put(tmp_path, "origin", ".gitattributes")
    (folder / ".gitattributes").write_text("* filter=evil\n")
    (folder / "hooks").mkdir()
    (folder / "hooks" / "post-checkout").write_text(script)
    commit_all(folder)
    hook = folder / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(script)
    hook.chmod(0o755)
    git(folder, "config", "filter.evil.smudge", f"touch {ran}; cat")
    FOR_TESTS.fetch(repository(folder), "", tmp_path / "target")
    assert not ran.exists()


def test_submodules_are_not_fetched_and_links_are_refused(tmp_path: Path) -> None:
    inner = put(tmp_path, "inner")
    commit_all(inner)
    folder = put(tmp_path, "origin")
    commit_all(folder)
    git(folder, "submodule", "--quiet", "add", repository(inner), "sub")
    commit_all(folder)
    _, notes = FOR_TESTS.fetch(repository(folder), "", tmp_path / "target")
    assert "sub" in notes[0] and not list((tmp_path / "target").glob("sub/*"))
    (folder / "link").symlink_to("/etc/passwd")
    commit_all(folder)
    with pytest.raises(BadRequest, match="link"):
        FOR_TESTS.fetch(repository(folder), "", tmp_path / "second")


def test_large_repositories_are_refused(tmp_path: Path) -> None:
    folder = put(tmp_path, "origin")
    (folder / "zeros").write_bytes(bytes(300_000))
    commit_all(folder)
    with pytest.raises(EaselError, match="larger"):
        FOR_TESTS.fetch(repository(folder), "", tmp_path / "target")
    (folder / "zeros").unlink()
    for number in range(30):
        (folder / f"{number}.txt").write_text("")
    commit_all(folder)
    with pytest.raises(EaselError, match="more than 20 files"):
        FOR_TESTS.fetch(repository(folder), "", tmp_path / "second")


def test_a_clone_made_by_hand_tells_where_it_came_from(tmp_path: Path) -> None:
    folder = put(tmp_path, "clone")
    commit = commit_all(folder)
    assert read_checkout(folder).kind == "unknown"
    git(folder, "remote", "add", "origin", "https://example.org/a/b")
    source = read_checkout(folder)
    assert (source.kind, source.address, source.ref, source.commit) == (
        "git",
        "https://example.org/a/b",
        "main",
        commit,
    )
    git(folder, "pack-refs", "--all")
    assert read_checkout(folder).commit == commit
    git(folder, "remote", "set-url", "origin", "file:///etc")
    assert read_checkout(folder).kind == "unknown"


# Zips


def unpacked(content: bytes, target: Path) -> list[str]:
    unpack(io.BytesIO(content), target, SMALL)
    return sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())


def test_a_zip_loses_the_folder_that_holds_everything(tmp_path: Path) -> None:
    assert unpacked(zipped({"x-main/extension.py": "", "x-main/a/b.txt": "b"}), tmp_path / "a") == [
        "a/b.txt",
        "extension.py",
    ]
    assert unpacked(zipped({"extension.py": "", "a/b.txt": "b"}), tmp_path / "b") == ["a/b.txt", "extension.py"]


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../../x",
        "/etc/x",
        "a\\..\\x",
        "C:/x",
        "C:x",
        "a/CON",
        "a/x.",
        "a//b",
        "./x",
        "a/b:c",
        "\x01",
        "x" * 300,
    ],
)
def test_paths_that_lead_out_of_a_zip_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(EaselError):
        unpacked(zipped({"extension.py": "", name: "x"}), tmp_path / "in" / "target")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_links_twins_and_locked_files_in_zips_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(EaselError, match="link"):
        unpacked(content.getvalue(), tmp_path / "a")
    with pytest.raises(EaselError, match="twice"):
        unpacked(zipped({"a.txt": "", "A.txt": ""}), tmp_path / "b")
    locked = bytearray(zipped({"a.txt": "abc"}))
    locked[6] |= 1
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(EaselError, match="encrypted"):
        unpacked(bytes(locked), tmp_path / "c")


def test_bombs_are_refused_whatever_they_claim(tmp_path: Path) -> None:
    with pytest.raises(EaselError, match="larger"):
        unpacked(zipped({"a": bytes(300_000)}), tmp_path / "a")
    with pytest.raises(EaselError, match="times as large"):
        unpack(io.BytesIO(zipped({"a": bytes(20_000_000)})), tmp_path / "b", Limits())
    with pytest.raises(EaselError, match="more than 20 files"):
        unpacked(zipped({f"{number}": "" for number in range(30)}), tmp_path / "c")
    lying = bytearray(zipped({"a": bytes(300_000)}))
    for start, offset in ((0, 22), (lying.index(b"PK\x01\x02"), 24)):
        lying[start + offset : start + offset + 4] = (1000).to_bytes(4, "little")
    with pytest.raises(EaselError):
        unpacked(bytes(lying), tmp_path / "d")
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 300_000


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip" * 100, zipped({}), zipped({"a": "b" * 1000})[:-30]])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(EaselError, match="zip"):
        unpacked(content, tmp_path / "a")


# Folders, https, indices


def test_folders_and_zips_of_this_machine_are_copied(tmp_path: Path) -> None:
    folder = put(tmp_path, "mine")
    commit_all(folder)
    source, _ = Fetcher(SMALL).fetch(FromFolder(address=str(folder)), tmp_path / "a" / "mine")
    assert source.kind == "folder" and [path.name for path in (tmp_path / "a" / "mine").iterdir()] == ["extension.py"]
    (folder / "link").symlink_to("/etc/passwd")
    Fetcher(SMALL).fetch(FromFolder(address=str(folder)), tmp_path / "b" / "mine")
    with pytest.raises(EaselError, match="link"):
        inspect(tmp_path / "b" / "mine", "1", source, SMALL, None)
    file = tmp_path / "mine.zip"
    file.write_bytes(zipped({"extension.py": ""}))
    source, _ = Fetcher(SMALL).fetch(FromZip(address=str(file)), tmp_path / "c" / "mine")
    assert source.kind == "zip" and len(source.commit) == 64
    for address in ("relative/x", "//host/share", "\\\\host\\share", str(tmp_path / "none"), "file:///etc"):
        with pytest.raises(BadRequest):
            Fetcher(SMALL).fetch(FromFolder(address=address), tmp_path / "d" / "mine")
        with pytest.raises(BadRequest):
            Fetcher(SMALL).fetch(FromZip(address=address), tmp_path / "d" / "mine")


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Downloads]]:
    folder = tmp_path_factory.mktemp("served") / "files"
    folder.mkdir()
    certificate = make_certificate(folder.parent)
    git_asks = "info/refs?service=git-upload-pack"
    redirects = {
        "/to-http": "http://127.0.0.1:1/x",
        f"/to-http/{git_asks}": f"http://127.0.0.1:1/x/{git_asks}",
        "/to-file": "file:///etc/passwd",
        "/again": "/thing.zip",
    }
    (folder / "thing.zip").write_bytes(zipped({"thing/extension.py": ""}))
    with serve_https(folder, certificate, redirects) as address:
        yield address, folder, Downloads(20, trust(certificate))


def test_https_is_fetched_within_limits_and_never_leads_elsewhere(
    secure: tuple[str, Path, Downloads], tmp_path: Path
) -> None:
    address, _, downloads = secure
    content = b"".join(downloads.fetch(f"{address}/again", 10_000))
    assert unpacked(content, tmp_path / "a") == ["extension.py"]
    with pytest.raises(BadRequest, match="larger"):
        list(downloads.fetch(f"{address}/thing.zip", 10))
    with pytest.raises(BadRequest, match="404"):
        list(downloads.fetch(f"{address}/none", 10))
    for trick in ("to-http", "to-file"):
        with pytest.raises(BadRequest, match=r"https only|not allowed"):
            list(downloads.fetch(f"{address}/{trick}", 10_000))
    with pytest.raises(BadRequest, match="certificate"):
        list(Downloads(20).fetch(f"{address}/thing.zip", 10_000))


def test_git_fetches_by_https_from_whom_the_system_trusts(
    secure: tuple[str, Path, Downloads], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder, _ = secure
    commit = commit_all(put(tmp_path, "origin"))
    git(tmp_path, "clone", "--quiet", "--bare", "origin", str(folder / "thing.git"))
    git(folder / "thing.git", "update-server-info")
    repositories = Repositories(SMALL)
    with pytest.raises(BadRequest, match="certificate"):
        repositories.fetch(f"{address}/thing.git", "", tmp_path / "a")
    monkeypatch.setenv("GIT_SSL_CAINFO", str(folder.parent / "certificate.pem"))
    for number, ref in enumerate(("", "main", commit)):
        source, _ = repositories.fetch(f"{address}/thing.git", ref, tmp_path / f"target{number}")
        assert source.commit == commit
        assert (tmp_path / f"target{number}" / "extension.py").is_file()
    assert repositories.newest(f"{address}/thing.git", "main", tmp_path) == commit
    with pytest.raises(BadRequest, match="git could not fetch"):
        repositories.fetch(f"{address}/to-http", "", tmp_path / "b")


def test_an_index_is_read_and_what_is_odd_in_it_left_out(secure: tuple[str, Path, Downloads], tmp_path: Path) -> None:
    address, folder, downloads = secure
    good = {
        "name": "Thing",
        "url": "https://host/a/thing.git",
        "description": "d",
        "added": "2023-01-01",
        "tags": ["tab"],
    }
    odd = [None, 3, {}, {"name": "x"}, {"name": "x", "url": "file:///etc"}, {"name": "x", "url": ["https://h/"]}]
    (folder / "index.json").write_text(json.dumps({"tags": {}, "extensions": [good, *odd]}))
    for place in (f"{address}/index.json", str(folder / "index.json")):
        (entry,) = read_index(place, downloads, ["https://host/A/thing"])
        assert (entry.name, entry.tags, entry.is_installed) == ("Thing", ("tab",), True)
    for content in ("", "[]", "{}", '{"extensions": 3}', "[" * 100_000):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(EaselError):
            read_index(str(tmp_path / "bad.json"), downloads, [])
    for place in ("/etc/passwd", "relative.json", "http://host/index.json"):
        with pytest.raises(EaselError):
            read_index(place, downloads, [])
