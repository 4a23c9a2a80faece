"""Spans, as an exporter in memory gets them, and the traces that they make."""

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from starlette.responses import PlainTextResponse, StreamingResponse

from nexios_trio import ChannelBox, NexiosApp, WebSocket, WebSocketConsumer, open_channel
from nexios_trio.core.message import Position
from nexios_trio.engines.base import Receipt
from nexios_trio.exceptions import EngineError
from nexios_trio.http import HTTPException, Request, Response
from nexios_trio.testing import Broker
from tests.asgi import connect, lifespan, request
from tests.server.support import running, settings, websocket

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"


class Spans:
    """A provider, and what came out of it."""

    def __init__(self, **options: Any) -> None:
        self.provider = TracerProvider(**options)
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def __call__(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        [span] = self(name)
        return span


def chat(spans: Spans, **options: Any) -> NexiosApp:
    app = NexiosApp(settings=settings(), **options)
    app.trace(spans.provider)

    @app.ws_route("/chat/{room}")
    async def talk(ws: WebSocket, room: str) -> None:
        async with open_channel(ws, payload_type="text") as channel, channel.member(room):
            await ws.send_text("joined")
            async for message in ws:
                with spans.provider.get_tracer("the application").start_as_current_span("its own work"):
                    pass
                if message == "fail":
                    raise ZeroDivisionError("what a pity")
                await ChannelBox.group_send(room, message)

    return app


class Publishing(WebSocketConsumer):
    encoding = "text"

    async def on_connect(self, ws: WebSocket) -> None:
        await ws.accept()
        self.join_nowait("tea")

    def on_receive(self, ws: WebSocket, data: str) -> None:
        if data == "fail":
            raise ZeroDivisionError("what a pity")
        self.broadcast_nowait(data, "tea")


def ids(span: ReadableSpan) -> tuple[str, str]:
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def parent_of(span: ReadableSpan) -> str | None:
    return None if span.parent is None else f"{span.parent.span_id:016x}"


def links_of(span: ReadableSpan) -> list[tuple[str, str]]:
    return [(f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") for link in span.links]


async def test_one_trace_from_a_clients_message_to_anothers_delivery() -> None:
    spans = Spans()
    async with running(chat(spans)) as server:
        headers = [("traceparent", TRACEPARENT)]
        async with (
            websocket(server.port, "/chat/tea", extra_headers=headers) as a,
            websocket(server.port, "/chat/tea") as b,
        ):
            assert [await a.get_message(), await b.get_message()] == ["joined"] * 2
            await a.send_message("hello")
            assert await b.get_message() == "hello"
            assert await a.get_message() == "hello"
            await a.send_message("again")
            assert await b.get_message() == "again"
    first, _ = spans("receive /chat/{room}")
    handled = next(span for span in spans("handle /chat/{room}") if parent_of(span) == ids(first)[1])
    published = next(span for span in spans("publish") if parent_of(span) == ids(handled)[1])
    own = next(span for span in spans("its own work") if parent_of(span) == ids(handled)[1])
    trace_id = ids(first)[0]
    assert {ids(span)[0] for span in (first, handled, published, own)} == {trace_id}
    delivered = next(span for span in spans("deliver") if links_of(span) == [ids(published)])
    assert (parent_of(first), parent_of(delivered)) == (None, None)
    assert ids(delivered)[0] != trace_id
    assert delivered.attributes is not None
    assert delivered.attributes["messaging.destination.name"] == "tea"
    assert delivered.attributes["nexios_trio.members"] == 2
    assert (published.kind, delivered.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert (len(spans("publish")), len(spans("deliver"))) == (2, 2)  # none for a member

    connection = next(span for span in spans("websocket /chat/{room}") if ids(span)[0] == TRACE_ID)
    assert parent_of(connection) == PARENT_ID
    assert links_of(first) == [ids(connection)]
    assert connection.attributes is not None
    assert connection.attributes["http.route"] == "/chat/{room}"
    assert connection.attributes["nexios_trio.end.cause"] == "peer_closed"


async def test_a_delivery_on_another_node_is_linked_to_the_publisher() -> None:
    spans, broker = Spans(), Broker()
    here, there = (chat(spans, box=ChannelBox(broker.engine())) for _ in range(2))
    async with lifespan(here), lifespan(there):
        async with connect(here, "/chat/tea") as a, connect(there, "/chat/tea") as b:
            for client in (a, b):
                await client.accepted()
                assert await client.text() == "joined"
            await a.send("hello")
            assert [await a.text(), await b.text()] == ["hello"] * 2
    published = spans.one("publish")
    assert [links_of(span) for span in spans("deliver")] == [[ids(published)]] * 2


async def test_another_engine_is_traced_too() -> None:
    """As workers get one that they share, after the application has been imported."""
    spans = Spans()
    app = chat(spans)
    app.box.share(Broker().engine())
    async with lifespan(app):
        await app.box.group_send("tea", "hello", save_history=True)
    assert len(spans("publish")) == 1


async def test_what_a_sampler_drops_costs_no_spans_anywhere() -> None:
    spans = Spans(sampler=ALWAYS_OFF)
    async with running(chat(spans)) as server, websocket(server.port, "/chat/tea") as client:
        assert await client.get_message() == "joined"
        await client.send_message("hello")
        assert await client.get_message() == "hello"
    assert spans.all == ()


async def test_an_error_is_in_the_span_of_its_message(caplog: pytest.LogCaptureFixture) -> None:
    spans = Spans()
    async with running(chat(spans)) as server, websocket(server.port, "/chat/tea") as client:
        assert await client.get_message() == "joined"
        await client.send_message("fail")
        with pytest.raises(Exception, match="1011"):
            await client.get_message()
    handled = spans.one("handle /chat/{room}")
    assert handled.status.status_code is StatusCode.ERROR
    assert [event.name for event in handled.events] == ["exception"]
    connection = spans.one("websocket /chat/{room}")
    assert (connection.status.status_code, connection.status.description) == (StatusCode.ERROR, "handler_error")


async def test_messages_of_a_synchronous_consumer_have_spans(caplog: pytest.LogCaptureFixture) -> None:
    spans = Spans()
    app = NexiosApp(settings=settings())
    app.trace(spans.provider)
    app.add_ws_route("/tea", Publishing)
    async with running(app) as server, websocket(server.port, "/tea") as client:
        for text in ("one", "two"):
            await client.send_message(text)
            assert await client.get_message() == text
        await client.send_message("fail")
        with pytest.raises(Exception, match="1011"):
            await client.get_message()
    handled = spans("handle /tea")
    assert [span.status.status_code for span in handled] == [StatusCode.UNSET, StatusCode.UNSET, StatusCode.ERROR]
    assert [parent_of(span) for span in handled] == [ids(span)[1] for span in spans("receive /tea")]
    assert [parent_of(span) for span in spans("publish")] == [ids(span)[1] for span in handled[:2]]
    connection = spans.one("websocket /tea")
    assert all(ids(connection) in links_of(span) for span in spans("receive /tea"))
    assert [event.name for event in connection.events] == []


def shop(spans: Spans, **options: Any) -> NexiosApp:
    app = NexiosApp(settings=settings(), **options)
    app.trace(spans.provider)

    @app.get("/rooms/{room}")
    async def show(req: Request, res: Response) -> Any:
        await ChannelBox.group_send(req.path_params["room"], "somebody looks", save_history=True)
        return {"room": req.path_params["room"]}

    @app.get("/fail")
    async def fail(req: Request, res: Response) -> None:
        raise ZeroDivisionError("what a pity")

    @app.get("/forbidden")
    async def forbidden(req: Request, res: Response) -> None:
        raise HTTPException(403)

    return app


def http_facts(span: ReadableSpan) -> tuple[Any, ...]:
    assert span.attributes is not None
    names = ("http.request.method", "http.route", "http.response.status_code")
    return (span.name, *(span.attributes.get(name) for name in names), span.status.status_code)


async def test_a_request_has_a_span_in_which_its_handler_publishes() -> None:
    spans = Spans()
    app = shop(spans)
    async with lifespan(app):
        answer = await request(app, "/rooms/tea", headers=[(b"traceparent", TRACEPARENT.encode())])
        assert answer.json() == {"room": "tea"}
        assert trace.get_current_span() is trace.INVALID_SPAN
    served, published = spans.one("GET /rooms/{room}"), spans.one("publish")
    assert (ids(served)[0], parent_of(served), served.kind) == (TRACE_ID, PARENT_ID, SpanKind.SERVER)
    assert http_facts(served)[1:] == ("GET", "/rooms/{room}", 200, StatusCode.UNSET)
    assert (ids(published)[0], parent_of(published)) == (TRACE_ID, ids(served)[1])
    assert served.attributes is not None
    assert (served.attributes["url.path"], served.attributes["client.address"]) == ("/rooms/tea", "192.0.2.7")


@pytest.mark.parametrize(
    ("method", "target", "facts"),
    [
        ("GET", "/fail", ("GET /fail", "GET", "/fail", 500, StatusCode.ERROR)),
        ("GET", "/forbidden", ("GET /forbidden", "GET", "/forbidden", 403, StatusCode.UNSET)),
        ("GET", "/nowhere", ("GET", "GET", None, 404, StatusCode.UNSET)),
        ("BREW", "/fail", ("HTTP /fail", "_OTHER", "/fail", 405, StatusCode.UNSET)),
        ("GET", "/files/a/b.txt", ("GET /files", "GET", "/files", 200, StatusCode.UNSET)),
        ("GET", "/a//b", ("GET", "GET", None, 400, StatusCode.UNSET)),
    ],
)
async def test_what_a_request_s_span_says(method: str, target: str, facts: tuple[Any, ...]) -> None:
    spans = Spans()
    app = shop(spans)
    app.mount("/files", PlainTextResponse("the file"))
    async with lifespan(app):
        await request(app, target, method)
    [served] = spans.all
    assert http_facts(served) == facts
    assert [event.name for event in served.events] == ["exception"] * (target == "/fail" and method == "GET")


async def test_an_error_behind_the_start_of_a_response_leaves_the_status_that_was_sent() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"the first part"
        raise ZeroDivisionError("what a pity")

    spans = Spans()
    app = shop(spans)
    app.mount("/export", StreamingResponse(parts()))
    async with lifespan(app):
        with pytest.raises(ZeroDivisionError):
            await request(app, "/export")
    served = spans.one("GET /export")
    assert http_facts(served)[3:] == (200, StatusCode.ERROR)
    assert [event.name for event in served.events] == ["exception"]


async def test_a_request_below_a_span_of_somebody_else_s() -> None:
    spans = Spans()
    app = shop(spans)
    async with lifespan(app):
        with spans.provider.get_tracer("middleware").start_as_current_span("the middleware's") as outer:
            await request(app, "/forbidden", headers=[(b"traceparent", TRACEPARENT.encode())])
    served = spans.one("GET /forbidden")
    assert served.kind is SpanKind.INTERNAL
    assert parent_of(served) == f"{outer.get_span_context().span_id:016x}"


async def test_operators_requests_have_no_spans() -> None:
    spans = Spans()
    app = shop(spans)
    app.mount_health()
    app.mount_metrics(authorize=lambda request: True)
    async with lifespan(app):
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await request(app, path)).status == 200
    assert spans.all == ()


async def test_refusals_and_publishing_from_elsewhere() -> None:
    spans = Spans()
    app = chat(spans)
    async with running(app) as server:
        async with await server.connect() as client:
            assert b" 404 " in await client.handshake("/nowhere")
        assert trace.get_current_span() is trace.INVALID_SPAN
        await app.box.group_send("tea", "nobody is there", save_history=True)
        receipt = app.box.post("tea", "nor here", save_history=True)
    refused = spans.one("websocket")
    assert refused.attributes is not None
    assert refused.attributes["nexios_trio.end.cause"] == "denied"
    assert [parent_of(span) for span in spans("publish")] == [None, None]
    assert receipt.position is not None
    assert spans("deliver") == []


async def test_a_publish_lasts_until_the_engine_has_answered() -> None:
    spans = Spans()
    receipts: list[Receipt] = []

    def ask(*args: Any, **options: Any) -> Receipt:
        receipts.append(Receipt())
        return receipts[-1]

    def refuse(*args: Any, **options: Any) -> Receipt:
        raise EngineError("too much is on its way", maybe_published=False)

    app = NexiosApp(settings=settings())
    app.box._wrap_posts(lambda post: lambda group, *args, **options: (refuse if group == "full" else ask)(*args))
    app.trace(spans.provider)
    async with lifespan(app):
        first, second = (app.box.post("tea", number, save_history=True) for number in (1, 2))
        assert spans.all == ()
        first.settle(Position(7, "epoch"))
        second.fail(EngineError("no answer", maybe_published=True))
        assert not app.box.engine_client.unsettled
        with pytest.raises(EngineError):
            app.box.post("full", 3, save_history=True)
    done, lost, refused = spans("publish")
    assert done.attributes is not None
    assert done.attributes["nexios_trio.offset"] == 7
    assert [span.status.status_code for span in (done, lost, refused)] == [
        StatusCode.UNSET,
        StatusCode.ERROR,
        StatusCode.ERROR,
    ]


async def test_the_context_does_not_outlive_the_connection() -> None:
    spans = Spans()
    seen: list[Any] = []
    app = chat(spans)

    async def serve_and_look(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        seen.append(trace.get_current_span())

    async with lifespan(app), connect(serve_and_look, "/chat/tea") as client:
        await client.accepted()
        assert await client.text() == "joined"
        await client.send("hello")
        assert await client.text() == "hello"
    assert seen == [trace.INVALID_SPAN]


def test_twice_is_an_error_and_two_applications_may_share_a_box() -> None:
    spans = Spans()
    app = chat(spans)
    with pytest.raises(ValueError, match="traced already"):
        app.trace(spans.provider)
    chat(spans, box=app.box)


@pytest.fixture
def without_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "nexios_trio.observability.tracing")


def test_without_the_extra(without_opentelemetry: None) -> None:
    with pytest.raises(ImportError) as caught:
        NexiosApp().trace()
    assert str(caught.value) == "trace needs opentelemetry-api: pip install 'nexios-trio[tracing]'"


def test_nothing_is_imported_that_is_not_used() -> None:
    program = (
        "import sys, nexios_trio, nexios_trio.cli, nexios_trio.testing\n"
        "app = nexios_trio.NexiosApp(); app.mount_health()\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('opentelemetry', 'prometheus_client')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
