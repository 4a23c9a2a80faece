"""`nexios-trio check --through`: what the guide's nginx makes of a handshake, and what it does when it is set up wrongly."""

import socket
import sys

import pytest
import trio
from click.testing import CliRunner

from nexios_trio.cli.main import main
from tests.server.support import CERTIFICATES
from tests.server.test_nginx import folder, proxy  # noqa: F401  # a fixture

APP = "tests.server.apps:sleepy"  # which has no settings of its own
TRUSTED = ("-s", "trusted_proxies=127.0.0.1")


@pytest.fixture
def ports():
    """Two that are free: the proxy's and the server's."""
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture
def check(monkeypatch):
    """Whether nothing is wrong, and what is said of the way through."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "certificate.pem"))
    monkeypatch.setattr(sys, "path", list(sys.path))

    async def run(url: str, *arguments: str) -> tuple[bool, str]:
        result = await trio.to_thread.run_sync(
            lambda: CliRunner().invoke(main, ["check", APP, *arguments, "--through", url])
        )
        return result.exit_code == 0, "\n".join(line for line in result.stdout.splitlines() if " through " in line)

    return run


async def test_the_guide_as_it_stands(folder, ports, check):  # noqa: F811
    async with proxy(folder, ports[0], f"127.0.0.1:{ports[1]}"):
        is_right, said = await check(f"wss://localhost:{ports[0]}/ws/tea", "--port", str(ports[1]), *TRUSTED)
    assert is_right, said
    assert said.splitlines() == [
        "ok     through      WebSockets come through, at /ws/tea",
        "ok     through      the client's address is 127.0.0.1, by X-Forwarded-For",
    ]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("proxy_set_header Host $http_host;", "browsers get 403: Origin https://localhost:"),
        ("proxy_set_header Upgrade $http_upgrade;", "arrives without its Upgrade header, as a plain request"),
        ("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", "note   through      no X-Forwarded-For"),
        ("proxy_set_header X-Forwarded-Proto $scheme;", "X-Forwarded-Proto is not sent"),
    ],
)
async def test_a_line_that_is_missing(folder, ports, check, line, text):  # noqa: F811
    async with proxy(folder, ports[0], f"127.0.0.1:{ports[1]}", **{line: ""}):
        is_right, said = await check(f"wss://localhost:{ports[0]}", "--port", str(ports[1]), *TRUSTED)
    assert is_right is text.startswith("note")
    assert text in said


async def test_a_proxy_that_nobody_trusts(folder, ports, check):  # noqa: F811
    path = folder / "socket"
    async with proxy(folder, ports[0], f"unix:{path}"):
        is_right, said = await check(f"wss://localhost:{ports[0]}", "-b", f"unix:{path}", "--umask", "000")
    assert not is_right
    assert "X-Forwarded-For of unix is not believed: --set trusted_proxies=unix" in said
    assert "the server does not know of the TLS: X-Forwarded-Proto says https, and is not believed" in said


async def test_a_certificate_of_one_s_own(folder, ports, check, monkeypatch):  # noqa: F811
    monkeypatch.delenv("SSL_CERT_FILE")
    async with proxy(folder, ports[0], f"127.0.0.1:{ports[1]}"):
        is_right, said = await check(f"wss://localhost:{ports[0]}", "--port", str(ports[1]), *TRUSTED)
    assert not is_right
    assert said.endswith("; SSL_CERT_FILE=FILE in the environment has one of your own trusted")


async def test_a_proxy_that_asks_somebody_else(folder, ports, check):  # noqa: F811
    async with proxy(folder, ports[0], f"unix:{folder}/elsewhere"):
        is_right, said = await check(f"wss://localhost:{ports[0]}", "--port", str(ports[1]), *TRUSTED)
    assert not is_right
    assert "nothing arrives here: the proxy answers 502: it cannot connect to this address." in said


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("ftp://localhost", "--through takes what clients connect to, as in wss://chat.example.com/ws, not ftp://loc"),
        ("ws://127.0.0.1:{0}", "nothing arrives here: ConnectionRefusedError"),
        ("wss://127.0.0.1:{1}", "nothing arrives here: TLS with 127.0.0.1 fails"),
    ],
)
async def test_addresses_that_lead_nowhere(ports, check, url, text):
    is_right, said = await check(url.format(*ports), "--port", str(ports[1]), *TRUSTED)
    assert not is_right
    assert text in said


async def test_the_server_itself_is_in_the_way(ports, check):
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports[1]))
        other.listen()
        is_right, said = await check(f"ws://127.0.0.1:{ports[1]}", "--port", str(ports[1]))
    assert not is_right
    assert "the addresses are needed for this, and cannot listen on" in said
