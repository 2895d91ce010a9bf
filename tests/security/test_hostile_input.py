"""P15–P20, P28–P30, P34–P37: what comes in as data stays data."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.api.site import Site, configure, make_model, open_site
from tests.security.probe import Probe, call, guard, scope_of
from tests.serving import run_async
from webui.api.app import build_api
from webui.api.gate import MAX_BODY, MAX_HEADERS, Gate
from webui.images.encode import encode_png

PATHS = [
    "../../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "..%252f..%252fetc/passwd",
    "....//....//etc/passwd", "/etc/passwd", "//etc/passwd", "file:///etc/passwd", "~/.ssh/id_rsa", "$HOME/x",
    "C:\\x", "\\\\host\\share", "\\\\?\\C:\\x", "/proc/self/environ", "/dev/zero", "a%00b", "a%0d%0ab", "x::$DATA",
    "CON", "nul.png", ".", "..", "...", "%20", "-x", ".easel/settings.json", "x" * 4096, "💥" * 200, "%ff%fe",
]  # fmt: skip
NASTY = '"><img src=x onerror="window.__pwned=1"><script>window.__pwned=1</script>'


def png(width: int = 8, height: int = 8, **texts: str) -> bytes:
    content, info = io.BytesIO(), PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.new("RGB", (width, height)).save(content, "PNG", pnginfo=info)
    return content.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_info(site: Site, content: bytes) -> Any:
    return site.client.post("/sdapi/v1/png-info", json={"image": base64.b64encode(content).decode()})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A site for tests that leave nothing behind."""
    with open_site(tmp_path_factory.mktemp("shared")) as site:
        yield site


@pytest.mark.parametrize("path", PATHS)
def test_p15_names_never_become_paths(shared: Site, path: str) -> None:
    job = shared.studio.jobs(1) or (shared.generate(),)
    requests = [
        ("GET", f"/api/v2/jobs/{path}", None),
        ("GET", f"/api/v2/jobs/{path}/images/0", None),
        ("GET", f"/api/v2/jobs/{path}/preview", None),
        ("GET", f"/api/v2/jobs/{path}/events", None),
        ("GET", f"/api/v2/jobs/{job[0].id}/images/{path}", None),
        ("POST", f"/api/v2/jobs/{path}/interrupt", None),
        ("POST", "/api/v2/jobs", {"model": path}),
        ("POST", "/sdapi/v1/txt2img", {"override_settings": {"sd_model_checkpoint": path}}),
        ("POST", "/sdapi/v1/options", {"sd_model_checkpoint": path}),
        ("POST", "/sdapi/v1/options", {"outdir_txt2img_samples": path}),
        ("POST", "/sdapi/v1/png-info", {"image": path}),
    ]
    for method, url, body in requests:
        answer = shared.client.request(method, url, json=body)
        # `.` and `..` are taken out of a URL by the client, which then asks for a list it may see
        assert answer.status_code in (400, 404, 405, 422) or path.strip("./") == "", (method, url, answer.text)
        assert "root:" not in answer.text and "PATH=" not in answer.text


def test_p16_a_link_in_the_outputs_is_not_followed(site: Site, tmp_path: Path) -> None:
    job = site.generate(keep=True)
    secret = tmp_path / "secret.png"
    secret.write_bytes(png())
    path = site.config.outputs_dir / job.images[0].path
    assert site.client.get(f"/api/v2/jobs/{job.id}/images/0").status_code == 200
    path.unlink()
    path.symlink_to(secret)
    assert site.client.get(f"/api/v2/jobs/{job.id}/images/0").status_code == 404


def test_p17_a_sibling_with_the_same_beginning_is_outside(site: Site) -> None:
    job = site.generate(keep=True)
    sibling = site.config.outputs_dir.with_name("outputs_private")
    sibling.mkdir()
    (sibling / "secret.png").write_bytes(png())
    path = site.config.outputs_dir / job.images[0].path
    path.unlink()
    path.symlink_to(sibling / "secret.png")
    assert site.client.get(f"/api/v2/jobs/{job.id}/images/0").status_code == 404


@pytest.mark.parametrize("content", [b"<html><script>1</script>", b"<svg onload='x'/>", b"", b"GIF89a", b"%PDF-1.7"])
def test_p18_only_images_are_shown(site: Site, content: bytes) -> None:
    job = site.generate(keep=True)
    (site.config.outputs_dir / job.images[0].path).write_bytes(content)
    assert site.client.get(f"/api/v2/jobs/{job.id}/images/0").status_code == 422


def test_p18_images_come_without_any_right(site: Site) -> None:
    job = site.generate(keep=True)
    path = site.config.outputs_dir / job.images[0].path
    path.write_bytes(path.read_bytes() + b"<html><script>window.__pwned=1</script>")
    answer = site.client.get(f"/api/v2/jobs/{job.id}/images/0")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    download = site.client.get(f"/api/v2/jobs/{job.id}/images/0?download=1")
    assert download.headers["content-disposition"].startswith("attachment; ")


@pytest.mark.parametrize("content", [b"<html>", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"x", png()[:40]])
@pytest.mark.parametrize("kind", ["image/png", "image/svg+xml", "text/html", "application/octet-stream"])
def test_p18_uploads_must_be_images(shared: Site, content: bytes, kind: str) -> None:
    answer = shared.client.post("/api/v2/png-info", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 422
    answer = shared.client.post("/api/v2/png-info", files={"file": ("a.png", content, kind)})
    assert answer.status_code == 422


def test_p19_names_are_never_html(tmp_path: Path) -> None:
    name = NASTY.replace("/", "")
    with open_site(tmp_path, models=(name,)) as site:
        for path in ("/sdapi/v1/sd-models", "/api/v2/models", "/sdapi/v1/options", "/api/v2/status"):
            answer = site.client.get(path)
            assert answer.headers["content-type"].startswith("application/json")
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert "<script>" not in site.client.get("/docs").text.replace("</script>", "")
        page = site.client.get("/nothing/" + name)
        assert page.headers["content-type"].startswith("application/json")


def test_p19_the_login_page_repeats_nothing(tmp_path: Path) -> None:
    _, client = guard(tmp_path, "--gradio-auth=ann:secret")
    page = client.post("/login", data={"username": NASTY, "password": NASTY})
    assert "onerror" not in page.text and "<script" not in page.text


@pytest.mark.parametrize(
    "text",
    [
        NASTY,
        "__import__('os').system('touch CANARY')",
        "a\nSteps: __import__('os').system('touch CANARY'), Sampler: Euler, CFG scale: inf, Seed: nan, Size: -1x-1",
        "a\nSteps: 1e999, Hashes: {, Size: 512",
        "a\nSteps: 5, Lora hashes: \"" + "[" * 10_000,
        "a\nSteps: 5, " + ", ".join(f"k{i}: {i}" for i in range(5000)),
    ],
)  # fmt: skip
def test_p20_metadata_is_text(shared: Site, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    answer = png_info(shared, png(parameters=text))
    assert answer.status_code == 200 and answer.json()["info"] == text
    assert answer.headers["content-type"].startswith("application/json")
    other = shared.client.post("/api/v2/png-info", content=png(parameters=text), headers={"Content-Type": "image/png"})
    assert other.status_code == 200 and other.json()["infotext"] == text
    assert os.listdir(tmp_path) == []


def _bombs() -> dict[str, bytes]:
    signature = b"\x89PNG\r\n\x1a\n"
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    small = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    text = chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"a" * 200_000_000, 9))
    data = chunk(b"IDAT", zlib.compress(b"\0" * 200)) + chunk(b"IEND", b"")
    return {"huge": signature + header + data, "text": signature + small + text + data}


@pytest.mark.parametrize("name", ["huge", "text"])
def test_p28_image_bombs_are_refused(shared: Site, name: str) -> None:
    content = _bombs()[name]
    assert len(content) < 400_000
    assert png_info(shared, content).status_code in (413, 422)
    assert shared.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("text", ["!!!", "data:image/png;base64", "data:image/png,abc", "http://127.0.0.1/a.png",
                                  "file:///etc/passwd", "data:;base64,", "YQ==", "YQ"])  # fmt: skip
def test_p22_an_image_is_never_fetched_and_bad_base64_is_said(shared: Site, text: str) -> None:
    answer = shared.client.post("/sdapi/v1/png-info", json={"image": text})
    assert answer.status_code == 422 and answer.json()["detail"]


def test_p29_a_large_body_is_refused_before_it_is_read(tmp_path: Path) -> None:
    probe, client = guard(tmp_path)
    assert client.post("/", headers={"Content-Length": str(MAX_BODY + 1)}).status_code == 413
    assert client.post("/", headers={"Content-Length": "9" * 40}).status_code == 413
    assert probe.calls == 0


def test_p29_a_body_without_a_length_is_cut_off(tmp_path: Path) -> None:
    probe, client = guard(tmp_path)
    answer = client.post("/", content=(b"x" * 2**20 for _ in range(200)))
    assert answer.status_code == 413
    assert probe.received <= MAX_BODY


def test_p29_json_that_grows_past_the_limit_is_413(site: Site) -> None:
    pieces = [b'{"prompt": "', *[b"x" * 2**20] * 70, b'"}']
    answer = site.client.post("/sdapi/v1/txt2img", content=iter(pieces), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert site.studio.jobs() == ()


def test_p29_large_json_is_answered_and_not_echoed(shared: Site) -> None:
    answer = shared.client.post("/sdapi/v1/txt2img", json={"prompt": "x" * 20_000_000})
    assert answer.status_code == 422 and len(answer.content) < 1000
    answer = shared.client.post("/sdapi/v1/txt2img", json={"steps": "x" * 20_000_000})
    assert answer.status_code == 422 and len(answer.content) < 5000


def test_p29_too_many_headers_are_refused(tmp_path: Path) -> None:
    probe, client = guard(tmp_path)
    many = [(f"X-{number}", "1") for number in range(MAX_HEADERS + 1)]
    assert client.get("/", headers=many).status_code == 431
    assert client.get("/", headers={"X-Long": "x" * 70_000}).status_code == 431
    assert probe.calls == 0


def test_p29_a_form_of_many_parts_is_refused(shared: Site) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    answer = shared.client.post(
        "/api/v2/png-info",
        content=part * 10_000 + b"--x--",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert answer.status_code in (400, 422)


def test_p29_a_sender_that_falls_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webui.api.gate.BODY_SILENCE", 0.01)

    async def talk() -> list[Any]:
        sent: list[Any] = []
        first: list[Any] = [{"type": "http.request", "body": b"x", "more_body": True}]

        async def receive() -> Any:
            return first.pop() if first else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = scope_of("http", "/", {"Host": "127.0.0.1:7860"}, "POST")
        await Gate(Probe(), configure(tmp_path))(scope, receive, send)
        return sent

    assert run_async(talk())[0]["status"] == 408


@pytest.mark.parametrize(
    "fields",
    [
        {"n_iter": 10**9},
        {"batch_size": 10**6},
        {"n_iter": 1000, "batch_size": 64},
        {"width": 4096, "height": 4096, "batch_size": 64},
        {"steps": 10**9},
    ],
)
def test_p30_costs_are_limited_before_the_queue(site: Site, fields: dict[str, int]) -> None:
    answer = site.client.post("/sdapi/v1/txt2img", json={"prompt": "a", **fields})
    assert answer.status_code == 422 and answer.json()["detail"]
    assert site.studio.jobs() == ()


@pytest.mark.parametrize(
    "name",
    ["listen", "gradio_auth", "api_auth", "auth", "allow_code", "url_fetch", "data_dir", "ckpt_dir", "model_config",
     "__class__", "self", "changes", "ignore_unknown", "cors_allow_origins", "allowed_hosts"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/sdapi/v1/options", "/api/v2/settings"])
def test_p34_security_is_not_a_setting(site: Site, path: str, name: str) -> None:
    before = site.studio.settings()
    answer = site.client.post(path, json={name: True, "samples_save": False})
    assert answer.status_code == 422 and name in answer.json()["detail"]
    assert site.studio.settings() == before
    assert not (site.config.state_dir / "settings.json").exists()


@pytest.mark.parametrize("value", ["a\r\nlisten=true", "a\0b", "a\u2028b", "x" * 10_000_000, '"}', "\ud800", {"a": 1}])
@pytest.mark.parametrize("name", ["samples_filename_pattern", "directories_filename_pattern"])
def test_p35_settings_cannot_be_injected(site: Site, name: str, value: object) -> None:
    body = json.dumps({name: value, "CLIP_stop_at_last_layers": 3})
    answer = site.client.post("/sdapi/v1/options", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 422)
    shown = site.client.get("/sdapi/v1/options").json()
    if answer.status_code == 200:
        assert shown[name] == value
        saved = json.loads((site.config.state_dir / "settings.json").read_text())
        assert saved[name] == value and "listen" not in saved
    else:
        assert shown["CLIP_stop_at_last_layers"] == 1


def test_p36_secrets_stay_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = "CANARY-7f3a"
    monkeypatch.setenv("HF_TOKEN", canary)
    header = {"Authorization": "Basic " + base64.b64encode(f"ann:{canary}".encode()).decode()}
    with open_site(tmp_path, f"--gradio-auth=ann:{canary}", f"--api-auth=bot:{canary}") as site:
        paths = site.client.get("/openapi.json", headers=header).json()["paths"]
        job = site.studio.wait(site.studio.submit(site.studio.defaults().replace(steps=1, width=64, height=64)).id)
        for path, methods in paths.items():
            for method in methods:
                url = path.replace("{job_id}", job.id).replace("{index}", "0")
                answer = site.client.request(method, url, headers=header)
                assert canary.encode() not in answer.content
                assert canary not in str(answer.headers)
        for path in ("/docs", "/nothing", "/login"):
            assert canary not in site.client.get(path, headers=header).text
        assert site.client.post("/login", data={"username": canary, "password": canary}).text.count(canary) == 0
    assert canary not in caplog.text


def test_p37_an_unforeseen_error_shows_an_id_that_is_in_the_log(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError(f"secret {site.config.data_dir}")

    monkeypatch.setattr(site.studio, "status", fail)
    answer = site.client.get("/api/v2/status")
    assert answer.status_code == 500
    body = answer.json()
    assert body["errors"] in body["detail"] and body["errors"] in caplog.text
    assert "secret" in caplog.text
    for inner in ("Traceback", "secret", "RuntimeError", str(site.config.data_dir), ".py"):
        assert inner not in answer.text


def test_p37_errors_of_what_is_mounted_are_told_by_the_gate(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("secret")

    api = build_api(site.studio, site.config)
    api.mount("/", broken)
    for app in (Gate(api, site.config), Gate(broken, site.config)):
        sent = run_async(
            call(app, scope_of("http", "/x", {"Host": "127.0.0.1:7860"}), {"type": "http.request", "body": b""})
        )
        assert sent[0]["status"] == 500
        body = json.loads(sent[1]["body"])
        assert body["errors"] in caplog.text and "secret" not in str(sent)


def test_p37_paths_are_shown_below_the_data_folder(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from webui.errors import StorageError

    def fail(*_: object) -> None:
        raise StorageError(f"{site.config.outputs_dir}/a.png: no space left.", hint="Free some space.")

    monkeypatch.setattr(site.studio, "jobs", fail)
    answer = site.client.get("/api/v2/jobs")
    assert answer.status_code == 507
    assert answer.json()["detail"] == "outputs/a.png: no space left. Free some space."


def test_a_hostile_model_name_is_only_a_name(tmp_path: Path) -> None:
    make_model(tmp_path / "outside", "stolen")
    with open_site(tmp_path / "data") as site:
        for name in ("../../outside/stolen", str(tmp_path / "outside" / "stolen"), "tiny/../tiny"):
            assert site.client.post("/api/v2/jobs", json={"model": name}).status_code == 404


def test_infotext_of_our_own_images_is_read_back(shared: Site) -> None:
    content = encode_png(Image.new("RGB", (8, 8)), "a <b>cat</b>\nSteps: 5, Sampler: Euler, Seed: 1, Size: 8x8")
    assert png_info(shared, content).json()["parameters"]["Prompt"] == "a <b>cat</b>"
