"""P01–P04, P06–P10: who gets through the gate."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import psutil
import pytest

from tests.api.site import Site, configure, open_site, serve
from tests.security.probe import Probe, basic, call, guard, scope_of
from tests.serving import run_async, run_server
from webui.api.gate import CONTENT_SECURITY_POLICY, Gate

FOREIGN_ORIGINS = [
    "https://evil.example",
    "null",
    "",
    "http://127.0.0.1:99999",
    "http://localhost.evil.example",
    "http://localhost.evil.example:7860",
    "http://127.0.0.1",
    "http://127.0.0.1:3000",
    "http://localhost:7860",  # another origin than 127.0.0.1:7860 to a browser
    "http://127.0.0.1:7860@evil.example",
    "file://",
    "http://[::1",
]
PATHS = ["/sdapi/v1/txt2img", "/gradio_api/upload", "/gradio_api/queue/join", "/sdapi/v1/interrupt", "/login"]


@pytest.mark.parametrize(
    "host", ["evil.example:7860", "127.0.0.1.evil.example", "localhost.evil.example", "a b", "x@y"]
)
def test_p01_a_foreign_host_is_refused(tmp_path: Path, host: str) -> None:
    probe, client = guard(tmp_path)
    assert client.get("/", headers={"Host": host}).status_code == 403
    assert probe.calls == 0


@pytest.mark.parametrize("host", ["[::1]:7860", "localhost:7860", "127.0.0.1:7860", "127.0.0.1", "localhost:8888"])
def test_p01_own_hosts_pass(tmp_path: Path, host: str) -> None:
    _probe, client = guard(tmp_path)
    assert client.get("/", headers={"Host": host}).text == "in"


def test_p01_allowed_hosts_pass(tmp_path: Path) -> None:
    _probe, client = guard(tmp_path, "--allowed-hosts", "studio.lan")
    assert client.get("/", headers={"Host": "studio.lan:7860"}).text == "in"
    assert client.get("/", headers={"Host": "other.lan:7860"}).status_code == 403


def test_p01_no_host_is_refused(tmp_path: Path) -> None:
    probe = Probe()
    gate = Gate(probe, configure(tmp_path))
    sent = run_async(call(gate, scope_of("http", "/", {}), {"type": "http.request", "body": b""}))
    assert sent[0]["status"] == 400
    with serve(gate) as url, socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert probe.calls == 0


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_p02_a_foreign_origin_is_refused(tmp_path: Path, origin: str, path: str) -> None:
    probe, client = guard(tmp_path)
    assert client.post(path, headers={"Origin": origin}).status_code == 403
    assert client.get(path, headers={"Origin": origin}).status_code == 403
    assert probe.calls == 0


def test_p02_a_foreign_origin_beside_a_good_one_is_refused(tmp_path: Path) -> None:
    probe, client = guard(tmp_path)
    both = [("Origin", "http://127.0.0.1:7860"), ("Origin", "https://evil.example")]
    assert client.post("/sdapi/v1/interrupt", headers=both).status_code == 403
    assert probe.calls == 0


@pytest.mark.parametrize(("origin", "calls"), [("https://evil.example", 0), ("null", 0), ("http://127.0.0.1:7860", 1)])
def test_p02_web_sockets_are_guarded_too(tmp_path: Path, origin: str, calls: int) -> None:
    probe = Probe()
    scope = scope_of("websocket", "/queue/join", {"Host": "127.0.0.1:7860", "Origin": origin})
    sent = run_async(call(Gate(probe, configure(tmp_path)), scope, {"type": "websocket.connect"}))
    assert (sent[0]["type"] == "websocket.accept") is bool(calls)
    assert probe.calls == calls


def test_p02_the_own_page_passes(tmp_path: Path) -> None:
    _probe, client = guard(tmp_path)
    headers = {"Origin": "http://127.0.0.1:7860", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/sdapi/v1/interrupt", headers=headers).text == "in"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
@pytest.mark.parametrize("path", ["/api/v2/jobs/1/images/0", "/sdapi/v1/progress", "/"])
def test_p03_resources_are_not_for_other_sites(tmp_path: Path, path: str, site: str) -> None:
    probe, client = guard(tmp_path)
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    assert client.get(path, headers=headers).status_code == 403
    assert client.post(path, headers={"Sec-Fetch-Site": site}).status_code == 403
    assert probe.calls == 0


def test_p03_only_pages_may_be_opened_from_elsewhere(tmp_path: Path) -> None:
    probe, client = guard(tmp_path)
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/", headers=visit).text == "in"
    assert client.get("/sdapi/v1/progress", headers=visit).status_code == 403
    assert client.get("/", headers={**visit, "Sec-Fetch-Dest": "iframe"}).status_code == 403
    assert client.post("/", headers=visit).status_code == 403
    assert probe.calls == 1


def test_p04_programs_keep_working(tmp_path: Path) -> None:
    probe, client = guard(tmp_path)
    for headers in [{}, {"Authorization": ""}, {"Authorization": "Basic Og=="}, {"User-Agent": "curl/8"}]:
        assert client.post("/sdapi/v1/txt2img", headers=headers).text == "in"
    assert probe.calls == 4


def test_p05_get_changes_nothing(site: Site) -> None:
    job = site.generate()
    paths = [path for path, methods in site.client.get("/openapi.json").json()["paths"].items() if "get" in methods]
    assert len(paths) > 20
    before = _state(site)
    for path in [*paths, "/docs", "/healthz", "/login", "/logout", "/sdapi/v1/interrupt", "/sdapi/v1/skip"]:
        for _ in range(2):
            site.client.get(path.replace("{job_id}", job.id).replace("{index}", "0"))
    assert _state(site) == before


def _state(site: Site) -> tuple[object, ...]:
    files = sorted(path for path in site.config.outputs_dir.rglob("*") if "easel.db" not in path.name)
    return site.studio.settings(), site.studio.jobs(500), [(path, path.stat().st_size) for path in files]


@pytest.mark.parametrize("path", ["/sdapi/v1/txt2img", "/sdapi/v1/options", "/api/v2/jobs", "/api/v2/settings"])
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_p06_only_json_is_read(site: Site, path: str, kind: str) -> None:
    answer = site.client.post(path, content=b'{"prompt": "a cat", "steps": 1}', headers={"Content-Type": kind})
    assert answer.status_code in (400, 415, 422)
    assert site.studio.jobs() == ()


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_p07_cors_flags_open_the_gate_for_their_origin_only(tmp_path: Path, origin: str) -> None:
    probe, client = guard(tmp_path, "--cors-allow-origins=https://a.example")
    answer = client.post("/sdapi/v1/txt2img", headers={"Origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    assert client.options("/sdapi/v1/txt2img", headers=preflight).status_code == 403
    assert probe.calls == 0


def test_p07_the_configured_origin_passes_and_may_read(tmp_path: Path) -> None:
    probe, client = guard(tmp_path, "--cors-allow-origins=https://a.example")
    headers = {"Origin": "https://a.example", "Sec-Fetch-Site": "cross-site"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    preflight = client.options("/sdapi/v1/txt2img", headers={**headers, **asked})
    assert preflight.status_code == 204 and probe.calls == 0
    assert preflight.headers["access-control-allow-headers"] == "content-type"
    answer = client.post("/sdapi/v1/txt2img", headers=headers)
    assert answer.text == "in"
    assert answer.headers.get_list("access-control-allow-origin") == ["https://a.example"]
    assert answer.headers["vary"] == "Origin"


def test_p07_a_handlers_own_cors_headers_do_not_get_out(tmp_path: Path) -> None:
    _probe, client = guard(tmp_path)
    assert "access-control-allow-origin" not in client.get("/").headers


def test_p07_a_star_lets_pages_in_without_the_users_cookie(tmp_path: Path) -> None:
    _probe, client = guard(tmp_path, "--cors-allow-origins=*")
    answer = client.post("/sdapi/v1/txt2img", headers={"Origin": "https://any.example"})
    assert answer.text == "in" and "access-control-allow-credentials" not in answer.headers
    assert client.post("/sdapi/v1/txt2img", headers={"Origin": "null"}).status_code == 403


def test_p08_the_default_is_loopback(tmp_path: Path) -> None:
    with run_server(tmp_path, "--nowebui", "--stub-runner", models=None) as server:
        listening = [
            connection.laddr.ip
            for connection in psutil.Process(server.process.pid).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening == ["127.0.0.1"]
        answer = httpx.get(f"{server.url}/sdapi/v1/options")
        assert answer.status_code == 200 and "server" not in answer.headers
        evil = httpx.post(f"{server.url}/sdapi/v1/interrupt", headers={"Origin": "https://evil.example"})
        assert evil.status_code == 403


def test_p09_listening_needs_a_password(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        configure(tmp_path, "--listen")
    assert ended.value.code == 2
    assert "--gradio-auth" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--gradio-auth", "--api-auth"])
def test_p10_without_a_password_there_is_nothing_to_see(tmp_path: Path, flag: str) -> None:
    with open_site(tmp_path, f"{flag}=ann:secret") as site:
        job_id = site.studio.submit(site.studio.defaults()).id
        described = site.client.get("/openapi.json", headers=basic("ann", "secret")).json()["paths"]
        routes = [(method, path) for path, methods in described.items() for method in methods]
        assert len(routes) > 30
        extra = [("get", path) for path in ("/", "/docs", "/openapi.json", "/config", "/gradio_api/info", "/nothing")]
        for method, path in [*routes, *extra]:
            path = path.replace("{job_id}", job_id).replace("{index}", "0")
            answer = site.client.request(method, path)
            assert answer.status_code == 401, path
            assert job_id not in answer.text
        assert site.client.get("/healthz").status_code == 200
        assert site.client.get("/login").status_code == 200


def test_p10_routes_added_later_are_covered(tmp_path: Path) -> None:
    probe, client = guard(tmp_path, "--gradio-auth=ann:secret")
    assert client.get("/extension/route").status_code == 401
    sent = run_async(
        call(
            Gate(probe, configure(tmp_path, "--gradio-auth=ann:secret")),
            scope_of("websocket", "/ws", {"Host": "127.0.0.1:7860"}),
            {"type": "websocket.connect"},
        )
    )
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "Not logged in."}]
    assert probe.calls == 0
    assert client.get("/extension/route", headers=basic("ann", "secret")).text == "in"


def test_p10_api_accounts_open_the_api_only_when_the_ui_has_its_own(tmp_path: Path) -> None:
    _probe, client = guard(tmp_path, "--gradio-auth=ann:secret", "--api-auth=bot:token")
    for path in ("/sdapi/v1/options", "/api/v2/jobs", "/internal/ping"):
        assert client.get(path, headers=basic("bot", "token")).text == "in"
        assert client.get(path, headers=basic("ann", "secret")).text == "in"
    for path in ("/", "/config", "/sdapi", "/SDAPI/v1/options"):
        assert client.get(path, headers=basic("bot", "token")).status_code == 401
    for pair in [("bot", "secret"), ("ann", "token"), ("bot", "")]:
        assert client.get("/sdapi/v1/options", headers=basic(*pair)).status_code == 401


def test_every_answer_carries_the_security_headers(site: Site) -> None:
    for answer in (
        site.client.get("/docs"),
        site.client.get("/nothing"),
        site.client.get("/", headers={"Host": "x.y"}),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert "server" not in answer.headers
