"""The guide's own nginx, in front of the guide's own command: what it says has to work as it stands."""

import grp
import os
import re
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.server.processes import PROJECT, QUICK, Command, command
from tests.server.support import CERTIFICATES, DEADLINE, Raw, frame, over_tls

GUIDE = (PROJECT / "docs/guides/deploy.md").read_text()
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"  # where Debian has it, on the PATH of root alone
CLIENT = "127.0.0.2"  # that the proxy is asked from
SOCKET = "unix:/run/chat/server.sock"  # in the guide
# As the guide has it: another user, in the group of the server's. Only root can be another one.
USER = f"user nobody {grp.getgrgid(os.getgid()).gr_name};" if os.getuid() == 0 else ""
AROUND = """
daemon off;
{user}
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {guide}
}}
"""


def fence(language: str, mark: str) -> str:
    """The guide's code block of that language with that text in it."""
    [block] = [text for text in re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.M | re.S) if mark in text]
    return block


def options(mark: str) -> tuple[str, list[str]]:
    """The address that the guide gives the command, and the other options."""
    words = fence("console", mark).removeprefix("$ ").split()
    assert words[:4] == ["nexios-trio", "run", "chat.main:app", "-b"]
    return words[4], words[5:]


@pytest.fixture
def folder() -> Iterator[Path]:
    """That another user can reach, as pytest's own cannot be."""
    path = Path(tempfile.mkdtemp(prefix="nexios-trio-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@asynccontextmanager
async def proxied(folder: Path, port: int, mark: str, **changes: str) -> AsyncIterator[Command]:
    """The guide's server and proxy, on free ports; `changes` of the guide's nginx text."""
    assert f"proxy_pass http://{SOCKET};" in GUIDE
    bind, given = options(mark)
    if bind == SOCKET:
        bind = f"unix:{folder / 'server.sock'}"
    else:
        assert f"proxy_pass http://{bind};" in GUIDE
        bind = "127.0.0.1:0"
        given = [word.replace("10.0.0.5", "127.0.0.1") for word in given]
    async with command(folder / "log", "tests.server.apps:app", *QUICK, *given, bind=bind) as server:
        upstream = bind if bind.startswith("unix:") else f"127.0.0.1:{server.port}"
        async with proxy(folder, port, upstream, **changes):
            yield server


@asynccontextmanager
async def proxy(folder: Path, port: int, upstream: str, **changes: str) -> AsyncIterator[None]:
    """The guide's proxy, on a free port, in front of what listens at `upstream`."""
    changes |= {
        f"http://{SOCKET}": f"http://{upstream}",
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "/etc/letsencrypt/live/chat.example.com/fullchain.pem": str(CERTIFICATES / "certificate.pem"),
        "/etc/letsencrypt/live/chat.example.com/privkey.pem": str(CERTIFICATES / "key.pem"),
    }
    text = fence("nginx", "proxy_pass")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(AROUND.format(guide=text, user=USER))
    with (folder / "nginx.log").open("wb") as errors:
        run = [NGINX, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
        process = await trio.lowlevel.open_process(run, stderr=errors)
    try:
        with trio.fail_after(DEADLINE):
            while not is_listening(port):
                assert process.poll() is None, (folder / "nginx.log").read_text()
                await trio.sleep(0.01)  # for another process, which has no condition to wait for
        yield
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            await process.wait()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def connect(port: int) -> Raw:
    return Raw(over_tls(await trio.open_tcp_stream("127.0.0.1", port, local_address=CLIENT)))


def browser(port: int, path: str, origin: str) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: chat.example.com:{port}",
        "Connection: keep-alive, Upgrade",
        "Upgrade: websocket",
        f"Origin: {origin}",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@pytest.mark.parametrize("mark", ["-b 10.0.0.7:8000", f"-b {SOCKET}"], ids=["tcp", "unix"])
async def test_the_guide_as_it_stands(folder, unused_port, mark):
    async with proxied(folder, unused_port, mark) as server:
        async with await connect(unused_port) as client:
            await client.send(browser(unused_port, "/who", f"https://chat.example.com:{unused_port}"))
            assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 "), server.log
            assert await client.frame() == (1, f'["{CLIENT}","wss"]'.encode())
            await client.send(frame(1, b"hello"))
            assert await client.frame() == (1, b"hello")
        async with await connect(unused_port) as client:
            await client.send(b"GET /client HTTP/1.1\r\nHost: chat.example.com\r\nConnection: close\r\n\r\n")
            assert (await client.rest()).endswith(f'["{CLIENT}","https"]'.encode())
        for origin in ("https://evil.example.com", f"http://chat.example.com:{unused_port}"):
            async with await connect(unused_port) as client:
                await client.send(browser(unused_port, "/echo", origin))
                assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 403 ")


async def test_a_proxy_that_keeps_the_host_is_told_what_to_do(folder, unused_port):
    changes = {"proxy_set_header Host $http_host;": ""}
    async with proxied(folder, unused_port, "-b 10.0.0.7:8000", **changes) as server:
        async with await connect(unused_port) as client:
            await client.send(browser(unused_port, "/echo", f"https://chat.example.com:{unused_port}"))
            assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 403 ")
        server.signal()
        assert await server.status() == 0
        assert f"Origin https://chat.example.com:{unused_port}" in server.log
        assert f"Host 127.0.0.1:{server.port}" in server.log
        assert "proxy_set_header Host $http_host" in server.log
        assert "allowed_origins" in server.log
