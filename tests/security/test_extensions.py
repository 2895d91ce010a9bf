"""P31, P32 and hostile extensions, from outside: the server is up, the reason is shown, and nothing is installed over
the network."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.site import Site, configure, open_site
from tests.extending.sources import zipped
from tests.extending.strangers import HOSTILE, SCRIPT, clean_modules, put
from tests.serving import run_server, wait_until
from webui.extending.installing.guard import refusal

ENDLESS = (
    "infinite_loop",
    "loops_in_register",
)  # tried with a short limit in tests/extending
GOOD_ZIP = zipped({"extension.py": SCRIPT.format(name="zipped", imports="")})


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Site]:
    """A site whose user has a good extension."""
    put(tmp_path / "extensions", "good")
    with clean_modules(), open_site(tmp_path) as opened:
        yield opened


def test_the_server_is_up_with_hostile_extensions_and_says_what_is_wrong(tmp_path: Path) -> None:
    for name, (code, _) in HOSTILE.items():
        if name not in ENDLESS:
            put(tmp_path / "extensions", name, code)
    put(tmp_path / "extensions", "good")
    with run_server(tmp_path, "--stub-runner", "--nowebui", models=None) as server, server.client() as client:
        problems = " ".join(client.get("/api/v2/status").json()["problems"])
        listed = {each["folder"]: each for each in client.get("/api/v2/extensions").json()["extensions"]}
        for name, (_, reason) in HOSTILE.items():
            if name not in ENDLESS:
                assert listed[name]["state"] == "failed" and reason in listed[name]["problem"], name
                assert reason in problems
        assert listed["good"]["state"] == "active"
        assert "good" in [each["name"] for each in client.get("/api/v2/scripts").json()]
        assert client.get("/sdapi/v1/txt2img").status_code == 405  # still ours: a POST
        assert client.get("/api/v2/extensions").json()["can_restart"] == (os.name == "posix")
        uptime = client.get("/api/v2/status").json()["uptime"]
        assert client.post("/api/v2/restart").status_code == 202
        wait_until(lambda: _uptime(client) < uptime, "the server to be back", server)
        again = {each["folder"]: each["state"] for each in client.get("/api/v2/extensions").json()["extensions"]}
        own = {folder: each["state"] for folder, each in listed.items() if not each["is_bundled"]}
        assert {folder: again[folder] for folder in own} == own


def _uptime(client: httpx.Client) -> float:
    try:
        return float(client.get("/api/v2/status").json()["uptime"])
    except httpx.TransportError:
        return float("inf")


def test_a1111s_list(shop: Site) -> None:
    (item,) = shop.client.get("/sdapi/v1/extensions").json()
    assert item == {
        **dict.fromkeys(("remote", "branch", "commit_hash", "version", "commit_date"), ""),
        "name": "good",
        "enabled": True,
    }


ELSEWHERE = [
    {"kind": "git", "address": "file:///etc"},
    {"kind": "git", "address": "ext::sh -c id"},
    {"kind": "git", "address": "ssh://host/x"},
    {"kind": "git", "address": "http://host/x"},
    {"kind": "git", "address": "--upload-pack=touch x"},
    {"kind": "git", "address": "https://host/x", "ref": "--config=x"},
    {"kind": "git", "address": "https://host/x", "name": "../x"},
    {"kind": "git", "address": "https://host/x", "name": "lora"},
    {"kind": "zip", "address": "http://host/x.zip"},
    {"kind": "zip", "address": "file:///etc/x.zip"},
    {"kind": "folder", "address": "../.."},
    {"kind": "folder", "address": "/etc", "name": "a/b"},
    {"kind": "pip", "address": "thing"},
    {"kind": "git", "address": ""},
    {"kind": "git"},
]


def test_p31_nothing_is_fetched_from_elsewhere(shop: Site) -> None:
    for asked in ELSEWHERE:
        answer = shop.client.post("/api/v2/extensions/fetch", json=asked)
        assert answer.status_code == 422, answer.text
        assert answer.json()["detail"]
    assert not list((shop.config.state_dir / "extensions").glob("fetched/*"))


def test_a_zip_goes_the_whole_way(shop: Site) -> None:
    client = shop.client
    found = client.post("/api/v2/extensions/upload?name=up.zip", content=GOOD_ZIP).json()
    assert (found["folder"], found["files"]) == ("up", ["extension.py"])
    assert not (shop.config.extensions_dir / "up").exists()
    view = client.post(f"/api/v2/extensions/waiting/{found['id']}/accept").json()
    assert (view["state"], view["additions"][0]["names"]) == ("waiting", ["zipped"])
    shown = client.get("/api/v2/extensions").json()
    assert shown["needs_restart"] and not shown["can_restart"]  # only a real server can
    assert client.post("/api/v2/restart").status_code == 403
    assert client.post("/api/v2/extensions/installed/up/disable").json()["is_enabled"] is False
    assert client.post("/api/v2/extensions/states", json={"name": "now"}).status_code == 201
    assert client.post("/api/v2/extensions/states", json={"name": "../now"}).status_code == 403
    removed = client.post("/api/v2/extensions/installed/up/remove").json()
    assert (Path(removed["place"]) / "files" / "extension.py").is_file()
    for name in ("up", "..%2Fgood", "%2e%2e", "lora%2F.."):
        assert client.post(f"/api/v2/extensions/installed/{name}/remove").status_code == 404
    assert client.post("/api/v2/extensions/installed/lora/remove").status_code == 403
    assert client.post("/api/v2/extensions/states/now/restore").json()["problems"][0].startswith("up:")
    assert client.post("/api/v2/extensions/states/now/delete").status_code == 204


def test_a_zip_that_leads_out_of_its_folder_is_refused(shop: Site, tmp_path: Path) -> None:
    content = zipped({"extension.py": "", "../../../escaped.py": "x"})
    answer = shop.client.post("/api/v2/extensions/upload?name=x.zip", content=content)
    assert answer.status_code == 422 and "escaped" in answer.json()["detail"]
    assert not list(tmp_path.rglob("escaped.py"))


NETWORK = [
    ("--listen", "--i-know-no-auth"),
    ("--listen", "--gradio-auth", "a:b"),
    ("--server-name", "192.168.1.5", "--api-auth", "a:b"),
    ("--allowed-hosts", "studio.lan"),
    ("--cors-allow-origins", "https://a.example"),
    ("--cors-allow-origins", "*"),
]


@pytest.mark.parametrize("flags", NETWORK)
def test_p32_over_the_network_nothing_may_be_installed(tmp_path: Path, flags: tuple[str, ...]) -> None:
    assert "--enable-insecure-extension-access" in refusal(configure(tmp_path, *flags))
    assert refusal(configure(tmp_path, *flags, "--enable-insecure-extension-access")) == ""


@pytest.mark.parametrize("flags", [(), ("--server-name", "::1"), ("--gradio-auth", "a:b"), ("--port", "7000")])
def test_on_this_machine_it_may_be(tmp_path: Path, flags: tuple[str, ...]) -> None:
    assert refusal(configure(tmp_path, *flags)) == ""


def test_p32_every_route_that_changes_something_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "extensions", "good")
    with clean_modules(), open_site(tmp_path, "--cors-allow-origins", "https://a.example") as site:
        attempts: list[tuple[str, object]] = [
            ("fetch", {"kind": "folder", "address": str(tmp_path)}),
            ("index", {"address": "https://host/index.json"}),
            ("states", {"name": "x"}),
            ("states/x/restore", None),
            ("states/x/delete", None),
            ("waiting/x/accept", None),
            ("waiting/x/reject", None),
            *((f"installed/good/{action}", None) for action in ("enable", "disable", "roll-back", "try-again")),
            *((f"installed/good/{action}", None) for action in ("update", "remove")),
        ]
        for path, body in attempts:
            answer = site.client.post(f"/api/v2/extensions/{path}", json=body)
            assert answer.status_code == 403, path
            assert "--enable-insecure-extension-access" in answer.json()["detail"]
        assert site.client.post("/api/v2/extensions/upload?name=x.zip", content=GOOD_ZIP).status_code == 403
        assert site.client.post("/api/v2/restart").status_code == 403
        shown = site.client.get("/api/v2/extensions").json()
        assert "--cors-allow-origins" in shown["refusal"]
        assert (tmp_path / "extensions" / "good" / "extension.py").is_file()


def test_what_is_kept_of_extensions_is_not_for_everybody(shop: Site) -> None:
    shop.client.post("/api/v2/extensions/installed/good/disable")
    ledger = shop.config.state_dir / "extensions" / "extensions.json"
    assert "good" in ledger.read_text()
    if os.name == "posix":
        assert not stat.S_IMODE(shop.config.state_dir.stat().st_mode) & 0o077
    for path in ("extensions.json", "outputs/.easel/extensions/extensions.json", "extensions/good/extension.py"):
        assert shop.client.get(f"/{path}").status_code == 404
