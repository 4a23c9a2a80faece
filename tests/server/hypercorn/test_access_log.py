"""The access log: a line for each request, and nothing in it that a client could forge."""

import logging

from hypercorn.config import Config

from nexios_trio.server.hypercorn.access_log import safe_logger_class
from tests.server.support import (
    config,
    make_app,
    running,
    upgrade,
)


async def test_handshakes_are_in_the_access_log():
    lines = []
    log = logging.getLogger("test.access")
    log.setLevel(logging.INFO)
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    log.addHandler(handler)
    async with running(make_app(), config(accesslog=log, access_log_format="%(R)s %(s)s")) as server:
        async with await server.connect() as client:
            await client.handshake("/echo?token=secret")
        await server.request(upgrade("/nowhere"))
        await server.get("/%0d%0aforged%22?token=secret")
    assert lines[0] == "GET /echo?... 1.1 101"
    assert lines[1] == "GET /nowhere 1.1 404"
    assert lines[2] == r"GET /\r\nforged\"?... 1.1 404" or lines[2] == r"GET /\r\nforged\"?... 1.1 400"


def test_its_log_is_safe():
    config = Config.from_object("nexios_trio.serving.hypercorn_config")
    scope = {
        "type": "http", "method": "GET", "path": "/\x1b[31m\r\nx", "query_string": b"token=TOPSECRET",
        "http_version": "1.1", "headers": [], "client": ("192.0.2.7", 1), "server": None, "scheme": "http",
    }  # fmt: skip
    atoms = config.log.atoms(scope, {"status": 200, "headers": []}, 0.1)
    line = config.access_log_format % atoms
    assert "TOPSECRET" not in line
    assert "\x1b" not in line
    assert "\n" not in line


async def test_a_request_has_one_line(tmp_path):
    """hypercorn comes twice for a WebSocket that its application never answers."""
    file = tmp_path / "access.log"
    server_config = Config.from_mapping(accesslog=str(file))
    server_config.logger_class = safe_logger_class(server_config.logger_class)
    scope = {
        "type": "websocket", "path": "/ws", "query_string": b"", "http_version": "1.1", "headers": [],
        "client": ("192.0.2.7", 1), "server": None, "scheme": "ws",
    }  # fmt: skip
    for _ in range(2):
        await server_config.log.access(scope, {"status": 500, "headers": []}, 0.1)
    await server_config.log.access({**scope, "path": "/other", "nexios_trio.is_logged": False}, None, 0.1)
    request = {**scope, "type": "http", "method": "GET", "path": "/", "nexios_trio.is_logged": False}
    await server_config.log.access(request, None, 0.1)  # and early for a response that closes the connection
    await server_config.log.access(request, {"status": 200, "headers": [(b"Content-Length", b"5")]}, 0.1)
    for handler in server_config.log.access_logger.handlers:
        handler.close()
    assert [line.partition("access: ")[2] for line in file.read_text().splitlines()] == [
        "refuse /ws 192.0.2.7 - 500",
        "refuse /other 192.0.2.7 - -",
        "GET / HTTP/1.1 192.0.2.7 - 200 5 B 100 ms",
    ]
