"""What the log says of attacks: fields to search by, no payloads, no forged lines, and not too much of it."""

import logging
from collections import Counter

import pytest
import trio

from nexios_trio.logs import FIELDS
from nexios_trio.logs.guard import BURST
from tests.attack.app import FAST, TOKEN, make_app
from tests.attack.messages import raw
from tests.attack.target import RUNNER, Target, dumped, text
from tests.server.support import DEADLINE, running

ENDS = "ended with %d: %s"


def ends(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.msg.startswith(ENDS)]


async def logged(caplog: pytest.LogCaptureFixture, count: int) -> list[logging.LogRecord]:
    """The records of that many connections that ended."""
    with trio.fail_after(DEADLINE):
        while len(ends(caplog)) < count:
            await trio.sleep(0.01)
    return ends(caplog)


async def test_an_end_has_fields_to_search_by(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "nexios_trio")
    app = make_app(**FAST)
    async with running(app, server_settings=app.settings) as server:
        target = Target(server.port, RUNNER)
        await target.closes("/echo?token=TOPSECRET", raw(0x81, b"\xff"), code=1007)
        await target.closes("/limited", text("payload-of-a-peer") * 100, code=1008)
        await target.closes("/room/forbidden", code=1008)
        await target.closes("/private", dumped({"token": "wrong-token"}), code=4001)
        records = await logged(caplog, 4)
    seen = {record.path: (record.cause, record.code) for record in records}  # type: ignore[attr-defined]
    assert seen == {
        "/echo": ("invalid_data", 1007),
        "/limited": ("rate_limited", 1008),
        "/room/forbidden": ("handler_closed", 1008),
        "/private": ("unauthorized", 4001),
    }
    assert len({record.connection for record in records}) == 4  # type: ignore[attr-defined]
    assert {record.client for record in records} == {"127.0.0.1"}  # type: ignore[attr-defined]
    assert all(record.reason for record in records)  # type: ignore[attr-defined]
    [refusal] = [record for record in caplog.records if getattr(record, "group", None) == "forbidden"]
    assert refusal.connection in {record.connection for record in records}  # type: ignore[attr-defined]
    everything = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    for secret in ("TOPSECRET", "payload-of-a-peer", "wrong-token", TOKEN):
        assert secret not in everything


async def test_what_peers_choose_is_escaped(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "nexios_trio")
    app = make_app(**FAST)
    async with running(app, server_settings=app.settings) as server:
        await Target(server.port, RUNNER).closes("/crash", text("\r\n2026-01-01 FORGED \x1b[31m"), code=1011)
        await logged(caplog, 1)
    [failure] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (failure.path, failure.client) == ("/crash", "127.0.0.1")  # type: ignore[attr-defined]
    lines = logging.Formatter("%(message)s").format(failure).split("\n")
    assert any("FORGED" in line for line in lines[1:])  # our own error's text, which says what the peer sent
    assert all(line.startswith("    ") and line.isprintable() for line in lines[1:])


async def test_a_flood_of_one_kind_is_cut_short_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nexios_trio")
    app = make_app(**FAST)
    count = 3 * BURST
    async with running(app, server_settings=app.settings) as server:
        target = Target(server.port, RUNNER)
        for _ in range(count):
            assert await target.handshake("/echo", "Origin: http://evil.example") == 403
        await target.closes("/echo", raw(0x81, b"\xff"), code=1007)
        await trio.sleep(1)  # so that the bucket of the first kind has something again
        assert await target.handshake("/echo", "Origin: http://evil.example") == 403
        with trio.fail_after(DEADLINE):
            while not any(hasattr(record, "suppressed") for record in caplog.records):
                await trio.sleep(0.01)
    kinds = Counter(record.msg.partition(" (and ")[0] for record in caplog.records)
    assert max(kinds.values()) < count
    assert all(vars(record).keys() & FIELDS for record in ends(caplog))
