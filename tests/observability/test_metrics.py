"""What Prometheus reads, over a real socket."""

import re
import sys
from typing import Any

import pytest
import trio
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from nexios_trio import ChannelBox, NexiosApp, WebSocket, WebSocketConsumer, open_channel
from nexios_trio.http import HTTPException, Request
from nexios_trio.observability.merging import count_workers, merge_metrics
from tests.asgi import request
from tests.server.processes import PROJECT
from tests.server.support import Running, running, settings, upgrade, websocket

ROOM = "room"
TOKEN = "Bearer 5ca1ab1e"


async def may_see(request: Request) -> bool:
    return request.headers.get("authorization") == TOKEN


def make_app(**options: Any) -> NexiosApp:
    """/talk: who is in the room hears what anybody in it says; /deny: nobody may."""
    app = NexiosApp(settings=settings(**options))

    @app.ws_route("/talk")
    async def talk(ws: WebSocket) -> None:
        async with open_channel(ws, payload_type="text") as channel, channel.member(ROOM):
            await ws.send_text("joined")
            async for message in ws:
                await ChannelBox.group_send(ROOM, message)

    @app.ws_route("/deny")
    async def deny(ws: WebSocket) -> None:
        await ws.deny(401)

    return app


Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: bytes) -> Numbers:
    """(name, labels) -> value of every sample."""
    families = list(text_string_to_metric_families(text.decode()))
    assert len({family.name for family in families}) == len(families)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


class Scrape:
    def __init__(self, text: bytes) -> None:
        self.numbers = parse(text)

    def __call__(self, name: str, **labels: str) -> float:
        return self.numbers["nexios_" + name, frozenset({"worker": "0", **labels}.items())]


async def scrape(server: Running) -> Scrape:
    head, _, body = (await server.get("/metrics", f"Authorization: {TOKEN}")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    assert b"content-type: text/plain; version=0.0.4" in head
    return Scrape(body)


async def test_every_number_over_a_real_socket() -> None:
    app = make_app()
    app.mount_metrics(authorize=may_see)
    async with running(app) as server:
        async with websocket(server.port, "/talk") as a, websocket(server.port, "/talk") as b:
            for client in (a, b):
                assert await client.get_message() == "joined"
            for number in range(130):
                await a.send_message(str(number))
                assert [await a.get_message(), await b.get_message()] == [str(number)] * 2
            assert (await server.request(upgrade("/deny"))).startswith(b"HTTP/1.1 401")
            assert (await server.request(upgrade("/nowhere"))).startswith(b"HTTP/1.1 404")
            assert b"400" in await server.request(b"\x16\x03\x01 a TLS hello")
            seen = await scrape(server)
        assert seen("connections", lane="direct", protocol="websocket") == 2
        assert seen("connections", lane="asgi", protocol="http") == 1  # the scrape
        assert seen("server_connections") == 3
        assert seen("accepted_total", lane="direct") == 2
        assert [seen("refused_total", cause="denied", status=status) for status in ("401", "404")] == [1, 1]
        assert seen("server_refused_total", cause="tls_without") == 1
        assert (seen("groups"), seen("members"), seen("channels")) == (1, 2, 2)
        assert (seen("published_total"), seen("delivered_total")) == (130, 260)
        assert seen("undelivered_total", reason="lost") == 0
        assert (seen("outbox_peers"), seen("outbox_messages"), seen("outbox_age_seconds")) == (0, 0, 0)
        assert seen("publish_to_wire_seconds_count") == 2  # of 130
        assert 0 < seen("publish_to_wire_seconds_sum") < 10
        assert seen("handler_seconds_count") == 130  # one connection of the two
        assert (seen("engine_state", state="up"), seen("engine_state", state="down")) == (1, 0)
        again = await scrape(server)
        assert again("ended_total", cause="peer_closed") == 2
        assert (again("groups"), again("published_total")) == (0, 130)
        assert again("connections", lane="direct", protocol="websocket") == 0


async def test_how_long_a_synchronous_consumer_takes() -> None:
    class Echo(WebSocketConsumer):
        def on_receive(self, ws: WebSocket, data: str | bytes) -> None:
            ws.send_nowait(data)

    app = make_app()
    app.mount_metrics(authorize=may_see)
    app.add_ws_route("/sync", Echo)
    async with running(app) as server:
        async with websocket(server.port, "/sync") as one, websocket(server.port, "/sync") as other:
            for client in (one, other, other):
                await client.send_message("x")
                assert await client.get_message() == "x"
            seen = await scrape(server)
    assert seen("handler_seconds_count") == 1  # the first connection of sixteen
    assert seen("connections", lane="direct", protocol="websocket") == 2


async def test_messages_that_wait_and_what_becomes_of_them() -> None:
    app = make_app(outbox_messages=1000, outbox_bytes=10_000_000, write_timeout=60)
    app.mount_metrics(authorize=may_see)
    async with running(app) as server:
        async with await server.connect() as stalled, websocket(server.port, "/talk") as speaker:
            await stalled.handshake("/talk")
            assert await speaker.get_message() == "joined"
            while True:
                for _ in range(20):
                    await speaker.send_message("x" * 60_000)
                    await speaker.get_message()
                seen = await scrape(server)
                if seen("outbox_messages") > 10:
                    break
            assert seen("outbox_peers") == 1
            assert 600_000 < seen("outbox_bytes") < 10_000_000
            while not seen("outbox_age_seconds"):  # it may have taken something just now
                seen = await scrape(server)
            assert seen("outbox_age_seconds") < 60
            waiting = seen("outbox_messages")
            stalled.reset()
            with trio.fail_after(10):
                while seen("outbox_peers"):
                    seen = await scrape(server)
            assert seen("undelivered_total", reason="lost") >= waiting - 1
            assert seen("ended_total", cause="peer_lost") == 1


async def test_who_may_see_them(caplog: pytest.LogCaptureFixture) -> None:
    refusing = make_app()
    refusing.mount_metrics("/numbers")
    answer = await request(refusing, "/numbers")
    assert (answer.status, answer.json()["status"]) == (403, 403)
    assert "mount_metrics(authorize=...) says who may" in answer.json()["error"]

    def authorize(request: Request) -> Any:
        if "authorization" not in request.headers:
            raise HTTPException(401, headers={"www-authenticate": "Bearer"})
        return 1  # which is not True

    app = make_app()
    app.mount_metrics(authorize=authorize)
    answer = await request(app, "/metrics")
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert (await request(app, "/metrics", headers=[(b"authorization", b"x")])).status == 403
    by_method = make_app()
    by_method.mount_metrics(authorize=may_see)
    assert (await request(by_method, "/metrics", headers=[(b"authorization", TOKEN.encode())])).status == 200


async def test_the_page_of_the_documents_has_all_of_them_and_no_others() -> None:
    app = make_app()
    app.box.keep_presence(ROOM)
    app.mount_metrics(authorize=may_see, registry=CollectorRegistry())
    async with running(app) as server:
        _, _, body = (await server.get("/metrics", f"Authorization: {TOKEN}")).partition(b"\r\n\r\n")
    of_workers = merge_metrics([body.decode(), count_workers(1, 2)])
    helps = dict(re.findall(r"# HELP (\S+) (.*)", of_workers))
    rows = re.findall(r"^\| (`nexios_.*?) \|", (PROJECT / "docs/guides/observe.md").read_text(), re.MULTILINE)
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted(helps)
    assert min(map(len, helps.values())) > 20, helps


async def test_metrics_of_the_programs_own_stand_beside() -> None:
    registry = CollectorRegistry()
    counter = Counter("moves", "Moves in all games.", registry=registry)
    counter.inc(3)
    app = make_app()
    app.mount_metrics(authorize=lambda request: True, registry=registry)
    numbers = parse((await request(app, "/metrics")).body)
    assert numbers["moves_total", frozenset()] == 3
    assert numbers["nexios_groups", frozenset({("worker", "0")})] == 0
    assert not any(name.startswith("python_") for name, _ in numbers)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("prometheus_client")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "nexios_trio.observability.metrics")
    app = make_app()
    with pytest.raises(ImportError) as caught:
        app.mount_metrics()
    assert str(caught.value) == "mount_metrics needs prometheus-client: pip install 'nexios-trio[metrics]'"
    app.mount_health()  # nothing was changed


def test_what_is_refused() -> None:
    app = make_app()
    with pytest.raises(TypeError, match="authorize is a function of a request"):
        app.mount_metrics(authorize=True)  # type: ignore[arg-type]
    app.mount_metrics()
    with pytest.raises(ValueError, match="mounted already: /metrics"):
        app.mount_metrics("/more")
