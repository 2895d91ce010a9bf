"""P11, P12: guessing is slow, sessions end."""

from __future__ import annotations

import hmac
from pathlib import Path
from unittest.mock import patch

import pytest
from starlette.testclient import TestClient

from tests.security.probe import basic, guard
from webui.api.access import GUESSES, SESSION_SECONDS

RIGHT = {"username": "ann", "password": "secret"}
WRONG = {"username": "ann", "password": "guess"}


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    return guard(tmp_path, "--gradio-auth=ann:secret,bob:other")[1]


def test_p11_wrong_passwords_are_limited(client: TestClient) -> None:
    statuses = [client.post("/login", data=WRONG).status_code for _ in range(20)]
    assert statuses == [401] * GUESSES + [429] * (20 - GUESSES)
    answer = client.post("/login", data=RIGHT)
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) > 0
    assert client.get("/", headers=basic("ann", "secret")).status_code == 429


def test_p11_wrong_basic_headers_count_too(client: TestClient) -> None:
    statuses = [client.get("/sdapi/v1/options", headers=basic("ann", str(i))).status_code for i in range(20)]
    assert statuses == [401] * GUESSES + [429] * (20 - GUESSES)


def test_p11_the_limit_leaves_those_inside_alone(client: TestClient) -> None:
    client.post("/login", data=RIGHT)
    for _ in range(20):
        client.post("/login", data=WRONG)
    assert client.get("/").text == "in"


@pytest.mark.parametrize("pair", [("ann", "secret"), ("bob", "wrong"), ("nobody", ""), ("ann", "x" * 1000)])
def test_p11_every_account_is_compared_in_constant_time(client: TestClient, pair: tuple[str, str]) -> None:
    with patch("webui.api.access.hmac.compare_digest", wraps=hmac.compare_digest) as compare:
        client.get("/", headers=basic(*pair))
    assert compare.call_count == 2
    assert {len(call.args[1]) for call in compare.call_args_list} == {64}


def test_p12_a_session_opens_everything_until_logout(client: TestClient) -> None:
    answer = client.post("/login", data=RIGHT)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and f"max-age={SESSION_SECONDS}" in cookie
    stolen = dict(client.cookies)
    for path in ("/", "/sdapi/v1/options", "/api/v2/jobs"):
        assert client.get(path).text == "in"
    assert client.get("/logout").status_code == 405
    assert client.post("/logout").status_code == 303
    assert "easel_session" not in client.cookies
    client.cookies.update(stolen)
    assert client.get("/").status_code == 401


def test_p12_a_session_ends_with_the_server(tmp_path: Path) -> None:
    _, before = guard(tmp_path, "--gradio-auth=ann:secret")
    before.post("/login", data=RIGHT)
    _, after = guard(tmp_path, "--gradio-auth=ann:secret")
    after.cookies.update(before.cookies)
    assert after.get("/").status_code == 401
    token = dict(before.cookies)["easel_session"]
    assert before.get("/", headers={"Cookie": f"easel_session={token}"}).text == "in"
    assert before.get("/", headers={"Cookie": "easel_session=guess"}).status_code == 401


def test_p12_cookies_over_tls_stay_on_tls(tmp_path: Path) -> None:
    _, client = guard(tmp_path, "--gradio-auth=ann:secret", "--allowed-hosts=easel.example")
    answer = client.post("https://easel.example/login", data=RIGHT)
    assert "secure" in answer.headers["set-cookie"].lower()
    assert "secure" not in client.post("/login", data=RIGHT).headers["set-cookie"].lower()


def test_p02_another_site_cannot_log_the_user_in(client: TestClient) -> None:
    assert client.post("/login", data=RIGHT, headers={"Origin": "https://evil.example"}).status_code == 403


def test_browsers_get_a_form_and_programs_a_challenge(client: TestClient) -> None:
    page = client.get("/", headers={"Accept": "text/html,*/*"})
    assert page.status_code == 401 and "<form" in page.text and "www-authenticate" not in page.headers
    assert client.get("/sdapi/v1/options").headers["www-authenticate"].startswith("Basic")
    script = client.get("/sdapi/v1/options", headers={"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"})
    assert script.status_code == 401 and "www-authenticate" not in script.headers


@pytest.mark.parametrize("body", [b"x" * 1_000_000, b"\xff\xfe", b"&".join([b"a=1"] * 1000), b""])
def test_a_hostile_form_is_refused(client: TestClient, body: bytes) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/login", content=body, headers=kind).status_code in (401, 422)


@pytest.mark.parametrize("cookie", ["x" * 5000, "easel_session=", "=;=;", "easel_session=ä", 'a="; easel_session=x'])
def test_a_hostile_cookie_is_no_session(client: TestClient, cookie: str) -> None:
    assert client.get("/", headers=[("Cookie", cookie.encode())]).status_code == 401
