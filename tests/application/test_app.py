"""`NexiosApp` as a whole: what a client sees of a handler's end, of refusals, of settings."""

import logging
from typing import Any

import pytest
import trio

import nexios_trio.application
from nexios_trio.application import NexiosApp, get_application
from nexios_trio.config.settings import Settings
from nexios_trio.exceptions import SettingsError, WebSocketDisconnect, WebSocketException
from nexios_trio.routing import Router, WebsocketRoute
from nexios_trio.websockets import ChannelBox, WebSocket
from tests.asgi import connect, websocket_scope

LOGGER = "nexios_trio"


def serving(handler: Any, **options: Any) -> NexiosApp:
    return NexiosApp(routes=[WebsocketRoute("/", handler)], **options)


# Making one


def test_creating_one_needs_no_loop() -> None:
    app = NexiosApp(title="t", routes=[Router("/a")], middleware=[], box=ChannelBox())
    assert (app.title, app.debug) == ("t", False)


def test_get_application_makes_a_new_one() -> None:
    app = get_application(title="t", debug=True)
    assert isinstance(app, NexiosApp)
    assert (app.title, app.debug) == ("t", True)
    assert get_application() is not get_application()


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXIOS_MAX_MESSAGE_SIZE", "1KiB")
    assert NexiosApp().settings.max_message_size == 1024
    assert NexiosApp(max_message_size=2048).settings.max_message_size == 2048
    assert NexiosApp(settings=Settings()).settings.max_message_size == 65_536
    monkeypatch.setenv("NEXIOS_MAX_MESSAGE_SIZE", "lots")
    with pytest.raises(SettingsError, match="NEXIOS_MAX_MESSAGE_SIZE"):
        NexiosApp()


def test_single_settings_win() -> None:
    app = NexiosApp(settings=Settings(inbox_messages=3, outbox_messages=3), outbox_messages=4)
    assert (app.settings.inbox_messages, app.settings.outbox_messages) == (3, 4)
    with pytest.raises(TypeError, match="did you mean outbox_messages"):
        NexiosApp(outbox_mesages=4)


async def test_the_box_is_the_applications_own_or_the_given_one() -> None:
    seen = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        seen.append((await ChannelBox.show_groups(), ws.app))

    box = ChannelBox()
    first, second = serving(handler, box=box), serving(handler)
    assert first.box is box
    assert second.box is not box
    async with connect(first) as client:
        await client.accepted()
    assert seen == [({}, first)]


async def test_an_unknown_scope() -> None:
    with pytest.raises(ValueError, match="websocket, http or lifespan, not 'smtp'"):
        await NexiosApp()({"type": "smtp"}, trio.sleep_forever, trio.sleep)


# How handlers end


async def test_regression_a_handler_that_returns_closes_with_1000() -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()

    async with connect(serving(handler)) as client:
        await client.accepted()
        assert await client.closed() == (1000, "")


async def test_regression_a_handler_that_never_accepts_denies_with_403() -> None:
    async def handler(ws: WebSocket) -> None: ...

    async with connect(serving(handler)) as client:
        assert await client.denied() == 403
    async with connect(serving(handler), http_response=False) as client:
        code, _ = await client.closed()
        assert code == 1008


async def test_regression_a_disconnect_left_uncaught_is_a_normal_end(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ws.receive_text()

    async def raises(ws: WebSocket) -> None:
        await ws.accept()
        raise WebSocketDisconnect(1001)

    with caplog.at_level(logging.INFO, LOGGER):
        async with connect(serving(handler)) as client:
            await client.accepted()
        async with connect(serving(raises)) as client:
            await client.accepted()
            assert await client.closed() == (1000, "")
    assert not caplog.records


async def test_regression_an_error_is_logged_once_and_closes_once_with_1011(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        raise LookupError("a secret")

    async def after_close(ws: WebSocket) -> None:
        await ws.accept()
        await ws.close(4000)
        raise LookupError("late")

    async with connect(serving(handler)) as client:
        await client.accepted()
        assert await client.closed() == (1011, "")
    async with connect(serving(after_close)) as client:
        await client.accepted()
        assert (await client.closed())[0] == 4000
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.01):
            await client.event()
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["a secret", "late"]


async def test_an_error_before_accept_is_http_500() -> None:
    async def handler(ws: WebSocket) -> None:
        raise LookupError

    async with connect(serving(handler)) as client:
        assert await client.denied() == 500


async def test_one_error_in_a_group_is_unwrapped_several_are_not(caplog: pytest.LogCaptureFixture) -> None:
    async def one(ws: WebSocket) -> None:
        await ws.accept()
        raise ExceptionGroup("", [ExceptionGroup("", [WebSocketException(4010, "alone")])])

    async def several(ws: WebSocket) -> None:
        await ws.accept()
        raise ExceptionGroup("", [WebSocketException(4010), LookupError()])

    async with connect(serving(one)) as client:
        await client.accepted()
        assert await client.closed() == (4010, "alone")
    async with connect(serving(several)) as client:
        await client.accepted()
        assert await client.closed() == (1011, "")
    assert len(caplog.records) == 1


async def test_regression_a_websocket_exception_closes_with_its_bare_reason() -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        raise WebSocketException(4001, "ü" * 100)

    async with connect(serving(handler)) as client:
        await client.accepted()
        assert await client.closed() == (4001, "ü" * 61)


# Refusals


async def test_regression_no_route_is_http_404_or_a_legal_close_code() -> None:
    async with connect(NexiosApp(), "/nowhere") as client:
        assert await client.denied() == 404
    async with connect(NexiosApp(), "/nowhere", http_response=False) as client:
        assert (await client.closed())[0] == 4404


@pytest.mark.parametrize("target", ["/a/../b", "/%00", "//", "/x%0a", "http://example.com/"])
async def test_hostile_paths_are_refused_with_400(target: str) -> None:
    async def handler(ws: WebSocket, rest: str) -> None:
        raise AssertionError

    app = NexiosApp(routes=[WebsocketRoute("/{rest:path}", handler)])
    async with connect(app, target) as client:
        assert await client.denied() == 400


async def accepting(ws: WebSocket) -> None:
    await ws.accept()


@pytest.mark.parametrize(
    ("options", "origins", "status"),
    [
        ({}, [], None),
        ({}, [b"http://example.com"], None),
        ({}, [b"https://example.com"], None),
        ({}, [b"https://evil.example"], 403),
        ({}, [b"null"], 403),
        ({}, [b"http://example.com", b"http://example.com"], 403),
        ({"require_origin": True}, [], 403),
        ({"allowed_origins": ["https://other.example"]}, [b"https://other.example"], None),
        ({"allowed_origins": "*"}, [b"https://evil.example"], None),
        ({"settings": Settings(allowed_origins=["https://other.example"])}, [b"https://other.example"], None),
    ],
)
async def test_the_origin_is_checked_by_default(options: Any, origins: list[bytes], status: int | None) -> None:
    app = serving(accepting, **options)
    async with connect(app, headers=[(b"origin", origin) for origin in origins]) as client:
        if status is None:
            await client.accepted()
        else:
            assert await client.denied() == status


# Transports


async def test_a_transport_that_the_server_has_ready_is_used() -> None:
    from nexios_trio.transports.asgi import AsgiTransport
    from nexios_trio.transports.server_context import DirectOffer

    events: list[Any] = []

    is_closed = trio.Event()

    async def send(event: Any) -> None:
        events.append(event)
        if event["type"] == "websocket.close":
            is_closed.set()

    incoming = [{"type": "websocket.connect"}]

    async def receive() -> Any:
        if incoming:
            return incoming.pop()
        await is_closed.wait()
        return {"type": "websocket.disconnect", "code": 1000}

    app = serving(accepting)
    scope = websocket_scope("/")
    ready = AsgiTransport(scope, receive, send, app.settings)
    scope["extensions"][nexios_trio.application.TRANSPORT_EXTENSION] = DirectOffer(ready, receive, send)
    with trio.fail_after(5):
        await app(scope, receive, send)
    assert [event["type"] for event in events] == ["websocket.accept", "websocket.close"]
