"""hypercorn's own command: an exception ends the connection that it belongs to, and no more."""

import functools
import logging
from contextlib import suppress

import hypercorn.trio
import pytest
import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer

from nexios_trio.server.hypercorn import patch
from nexios_trio.server.hypercorn.patch import contain_errors, patch_tcp_server
from tests.server.support import DEADLINE, ask, make_app, upgrade, websocket


async def _raise(error):
    async with trio.open_nursery():  # as hypercorn's are
        raise error


@pytest.mark.parametrize("error", [ValueError("a\nb"), UnicodeDecodeError("ascii", b"\xff", 0, 1, "not ASCII")])
async def test_an_exception_ends_there_and_is_logged_in_one_line(error, caplog):
    await contain_errors(_raise)(error)
    [record] = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert record.getMessage().startswith(f"dropped a connection: {type(error).__name__}: ")
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize("error", [OSError("reset"), trio.BusyResourceError("sending"), trio.BrokenResourceError()])
async def test_an_ordinary_end_is_no_news(error, caplog):
    await contain_errors(_raise)(error)
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]


async def _sleep(_):
    await trio.sleep_forever()


async def test_cancellation_passes_through():
    with trio.CancelScope() as scope:
        scope.cancel()
        await contain_errors(_sleep)(None)
        raise AssertionError
    assert scope.cancelled_caught


async def test_an_interrupt_passes_through():
    with pytest.raises(BaseExceptionGroup) as caught:
        await contain_errors(_raise)(KeyboardInterrupt())
    assert caught.group_contains(KeyboardInterrupt)


@pytest.fixture
def original(monkeypatch):
    run = getattr(TCPServer.run, "__wrapped__", TCPServer.run)
    monkeypatch.setattr(TCPServer, "run", run)
    return run


def test_the_configuration_guards(original):
    Config.from_object("nexios_trio.serving.hypercorn_config")
    patch_tcp_server()  # what the import does, once per process
    patch_tcp_server()
    assert TCPServer.run.__wrapped__ is original


def test_another_version_is_left_alone(original, monkeypatch):
    monkeypatch.setattr(patch, "version", lambda name: "0.19.0")
    patch_tcp_server()
    assert TCPServer.run is original


@pytest.mark.parametrize(
    "header",
    ["Sec-WebSocket-Protocol: \xff", "Sec-WebSocket-Extensions: \xff", "Content-Length: 5\r\n\r\nhello"],
    ids=repr,
)
async def test_hypercorn_survives_what_it_chokes_on(header, original, monkeypatch):
    monkeypatch.setattr(TCPServer, "run", contain_errors(original))
    stop = trio.Event()
    config = Config.from_mapping({"bind": ["127.0.0.1:0"], "graceful_timeout": 0, "errorlog": None})
    serve = functools.partial(hypercorn.trio.serve, make_app(takeover=False), config, shutdown_trigger=stop.wait)
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            [address] = await nursery.start(serve)
            port = int(address.rpartition(":")[2])
            async with websocket(port) as innocent:
                for _ in range(5):
                    async with await trio.open_tcp_stream("127.0.0.1", port) as attacker:
                        await attacker.send_all(upgrade("/echo", header))
                        with suppress(trio.BrokenResourceError):
                            while await attacker.receive_some():
                                pass
                assert await ask(innocent) == "are you there?"
            stop.set()
