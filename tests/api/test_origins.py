from __future__ import annotations

import pytest

from webui.api.origins import Authority, HostList, Origin, is_same_origin, read_authority, read_origin


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost:7860", Authority("localhost", 7860)),
        ("LOCALHOST", Authority("localhost", None)),
        ("127.0.0.1:1", Authority("127.0.0.1", 1)),
        ("[::1]:7860", Authority("::1", 7860)),
        ("example.com.", Authority("example.com", None)),
    ],
)
def test_hosts_are_read(text: str, expected: Authority) -> None:
    assert read_authority(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "a b", "host:", "host:0", "host:65536", "host:12345678", "u@host", "host/path", "[::1", "[localhost]:1", "::1",
     "-", "a\r\nb", "höst", "[::ffff:zz]"],
)  # fmt: skip
def test_what_is_no_host_is_refused(text: str) -> None:
    assert read_authority(text) is None


@pytest.mark.parametrize("text", ["null", "", "file://", "localhost:7860", "http://", "http://a/", "javascript://a",
                                  "http://127.0.0.1:99999", "http://a b", "http://u:p@localhost"])  # fmt: skip
def test_what_is_no_origin_is_refused(text: str) -> None:
    assert read_origin(text) is None


def test_an_origin_has_its_schemes_port() -> None:
    assert read_origin("https://Example.com") == Origin("https", "example.com", 443)
    assert read_origin("http://[::1]:7860") == Origin("http", "::1", 7860)


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://localhost:7860", "localhost:7860", True),
        ("https://easel.example", "easel.example", True),  # TLS ends at a proxy
        ("http://localhost:3000", "localhost:7860", False),
        ("http://127.0.0.1:7860", "localhost:7860", False),
        ("http://localhost", "localhost:7860", False),
    ],
)
def test_same_origin_is_same_host_and_port(origin: str, host: str, same: bool) -> None:
    page, server = read_origin(origin), read_authority(host)
    assert page is not None and server is not None
    assert is_same_origin(page, server) is same


@pytest.mark.parametrize(
    ("bound_to", "extra", "host", "accepted"),
    [
        ("127.0.0.1", (), "localhost:1", True),
        ("127.0.0.1", (), "127.3.2.1", True),
        ("127.0.0.1", (), "[::1]:7860", True),
        ("127.0.0.1", (), "192.168.1.5:7860", False),
        ("127.0.0.1", (), "evil.example", False),
        ("127.0.0.1", ("studio.lan",), "studio.lan:7860", True),
        ("127.0.0.1", ("studio.lan:80",), "studio.lan:7860", False),
        ("0.0.0.0", (), "192.168.1.5:7860", True),
        ("0.0.0.0", (), "evil.example", False),
        ("192.168.1.5", (), "192.168.1.5:7860", True),
        ("192.168.1.5", (), "192.168.1.6:7860", False),
    ],
)
def test_the_server_answers_to_its_own_names(bound_to: str, extra: tuple[str, ...], host: str, accepted: bool) -> None:
    authority = read_authority(host)
    assert authority is not None
    assert HostList(bound_to, extra).accept(authority) is accepted
