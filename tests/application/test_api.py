"""What backends get from `mount_api`: publishing over HTTP, with a key."""

import logging
from typing import Any

import orjson
import pytest
from trio.testing import wait_all_tasks_blocked

from nexios_trio import ChannelBox, NexiosApp
from nexios_trio.application.api_keys import ApiKeys
from nexios_trio.engines.base import HistoryLimits, Receipt
from nexios_trio.engines.memory import MemoryEngine
from nexios_trio.exceptions import EngineError
from nexios_trio.testing.client import connect
from nexios_trio.websockets import WebSocket, open_channel
from tests.asgi import Answer, lifespan, request

KEY = "correct-horse-battery-staple"
OLD_KEY = "an-older-key-of-this-kind"


def make_app(**options: Any) -> NexiosApp:
    app = NexiosApp(**options)
    app.mount_api("/api", key=KEY)

    @app.ws_route("/room")
    async def room(ws: WebSocket) -> None:
        async with open_channel(ws) as channel, channel.member("room"):
            async for _ in channel:
                pass

    return app


async def ask(
    app: NexiosApp, path: str, body: Any, *, key: str | None = KEY, headers: Any = (), scheme: str = "Bearer"
) -> Answer:
    authorization = [] if key is None else [(b"authorization", f"{scheme} {key}".encode())]
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return await request(app, path, "POST", body=data, headers=[*authorization, *headers])


async def publish(app: NexiosApp, payload: Any, **more: Any) -> Answer:
    return await ask(app, "/api/publish", {"group": "room", "payload": payload, **more})


async def test_a_publish_reaches_the_members_and_is_answered_with_its_position() -> None:
    app = make_app()
    async with connect(app, "/room") as member:
        await wait_all_tasks_blocked()
        answer = await publish(app, {"text": "tea"})
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        first = answer.json()
        second = (await publish(app, [1, None])).json()
        assert [await member.receive_json() for _ in range(2)] == [{"text": "tea"}, [1, None]]
        assert first["is_watched"]
        epoch, offset = first["position"].rsplit(":", 1)
        assert second["position"] == f"{epoch}:{int(offset) + 1}"


async def test_binary_messages_history_and_transient_ones() -> None:
    app = make_app()
    async with connect(app, "/room") as member:
        await wait_all_tasks_blocked()
        await ask(app, "/api/publish", {"group": "room", "payload_base64": "AAH/"})
        transient = await publish(app, "typing", transient=True)
        await publish(app, None, save_history=True)
        assert await member.receive() == b"\0\1\xff"
        assert [await member.receive_json() for _ in range(2)] == ["typing", None]
    assert transient.json()["position"] is None
    assert [message.payload for message in await app.box.show_history("room")] == [None]


async def test_nobody_is_there() -> None:
    assert (await publish(make_app(), 1)).json() == {"position": None, "is_watched": False}


@pytest.mark.parametrize("way", ["field", "header", "both"])
async def test_a_retry_with_its_key_gets_the_first_position(way: str) -> None:
    app = make_app()
    headers = [(b"idempotency-key", b"order-7")] if way != "field" else []
    more = {"key": "order-7"} if way != "header" else {}
    body = {"group": "room", "payload": 1, **more}
    async with connect(app, "/room") as member:
        await wait_all_tasks_blocked()
        answers = [await ask(app, "/api/publish", body, headers=headers) for _ in range(3)]
        await publish(app, 2)
        assert [await member.receive_json() for _ in range(2)] == [1, 2]
        assert member.unread() == []
    assert answers[0].status == 200
    assert answers[0].json() == answers[1].json() == answers[2].json()


async def test_a_batch_is_published_in_order_and_once() -> None:
    app = make_app()
    messages = [{"group": "room", "payload": number, "key": str(number)} for number in range(3)]
    async with connect(app, "/room") as member:
        await wait_all_tasks_blocked()
        first, again = [await ask(app, "/api/batch", {"messages": messages}) for _ in range(2)]
        await publish(app, "last")
        assert [await member.receive_json() for _ in range(4)] == [0, 1, 2, "last"]
    assert first.json() == again.json()
    positions = [result["position"] for result in first.json()["results"]]
    assert [position.rpartition(":")[2] for position in positions] == ["1", "2", "3"]


# Who may


@pytest.mark.parametrize(
    ("key", "scheme", "problem"),
    [
        (None, "", "give the key of mount_api in a header, Authorization: Bearer KEY"),
        (KEY, "Basic", "the header Authorization is to begin with Bearer"),
        (KEY[:-1], "Bearer", "the key is not one of mount_api"),
        ("", "Bearer", "the key is not one of mount_api"),
        ("\xe9" * 20, "Bearer", "the key is not one of mount_api"),
    ],
)
async def test_without_the_key_nothing_is_done(
    key: str | None, scheme: str, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()
    for path in ("/api/publish", "/api/batch"):
        answer = await ask(app, path, b"no JSON", key=key, scheme=scheme)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.json() == {"error": problem, "status": 401, "maybe_published": False}
    record = caplog.records[-1]
    assert (record.name, record.levelno, record.__dict__["client"]) == (
        "nexios_trio.http",
        logging.WARNING,
        "192.0.2.7",
    )
    assert not key or key not in caplog.text


async def test_an_old_key_is_good_while_a_new_one_comes() -> None:
    app = NexiosApp()
    app.mount_api("/api/", key=(OLD_KEY, KEY))
    found = [
        (await ask(app, "/api/publish", {"group": "room", "payload": 1}, key=key)).status for key in (OLD_KEY, KEY)
    ]
    assert found == [200, 200]
    assert (await publish(app, 1, key="x")).status == 200
    assert (await ask(app, "/api/publish", {}, key=OLD_KEY, scheme="bearer")).status == 400  # it is read


@pytest.mark.parametrize(
    ("key", "error", "text"),
    [
        (None, TypeError, "key is a str, or several for rotation, not NoneType: without one anybody could publish"),
        (b"x" * 32, TypeError, "key is a str, or several for rotation, not bytes"),
        ([], ValueError, "key is empty: without one anybody could publish"),
        ([KEY, None], TypeError, "key is a str, or several, not one that is NoneType"),
        ("", ValueError, "a key of 0 characters: accepted are 16 to 512 characters"),
        ("secret-15-chars", ValueError, "a key of 15 characters: accepted are 16 to 512 characters"),
        ("with a space in it", ValueError, "a key of 18 characters"),
        (f"{KEY}\n", ValueError, "a key of 29 characters"),
    ],
    ids=str,
)
def test_a_key_that_is_none(key: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        NexiosApp().mount_api("/api", key=key)
    assert str(caught.value).startswith(text)
    assert not isinstance(key, str) or not key or key not in str(caught.value)


def test_a_key_is_not_kept() -> None:
    keys = ApiKeys([KEY, OLD_KEY])
    assert repr(keys) == "<ApiKeys: 2>"
    assert KEY not in repr(vars(keys))


@pytest.mark.parametrize("path", ["", "/", "api", None, 7])
def test_a_path_that_is_none(path: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"path is what the API's paths begin with|a prefix"):
        NexiosApp().mount_api(path, key=KEY)


def test_one_path_has_one_set_of_keys() -> None:
    app = NexiosApp()
    app.mount_api("/api", key=KEY)
    app.mount_api("/internal", key=OLD_KEY)
    with pytest.raises(ValueError, match="there is an API at '/api' already: give mount_api all keys at once"):
        app.mount_api("/api/", key=OLD_KEY)


async def test_authorize_is_about_clients_and_not_asked() -> None:
    asked = []

    async def authorize(channel: Any, group: str, action: str) -> bool:
        asked.append(action)
        return action == "join"

    app = make_app(authorize=authorize)
    async with connect(app, "/room") as member:
        await wait_all_tasks_blocked()
        assert (await publish(app, 1)).status == 200
        assert await member.receive_json() == 1
    assert asked == ["join"]


# What is not accepted

ONE = {"group": "room", "payload": 1}


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        ([], "", "accepted is an object with group, payload, payload_base64, key, save_history, transient, not a list"),
        ("x", "", "accepted is an object with"),
        (ONE | {"room": 1}, "room", "there is no such field; accepted are group, payload, payload_base64, key"),
        (ONE | {"\u2028" * 99: 1}, "\\u2028" * 6 + "\\u20", "there is no such field"),
        ({"payload": 1}, "group", "a group name is a str of 1 to 100 characters"),
        (ONE | {"group": "tea time"}, "group", "invalid group name 'tea time'"),
        ({"group": "room"}, "payload", "give either payload, any JSON, or payload_base64"),
        (ONE | {"payload_base64": ""}, "payload", "give either payload"),
        ({"group": "room", "payload_base64": 7}, "payload_base64", "accepted is text in base64"),
        ({"group": "room", "payload_base64": "AAH"}, "payload_base64", "accepted is text in base64"),
        ({"group": "room", "payload_base64": "\xe9==="}, "payload_base64", "accepted is text in base64"),
        (ONE | {"key": 7}, "key", "key is a str, not int"),
        (ONE | {"key": ""}, "key", "key has 1 to 200 characters, not 0"),
        (ONE | {"key": "x" * 201}, "key", "key has 1 to 200 characters, not 201"),
        (ONE | {"save_history": 1}, "save_history", "accepted are true and false, not a number"),
        (ONE | {"transient": None}, "transient", "accepted are true and false, not null"),
        (ONE | {"transient": True, "save_history": True}, "transient", "a transient message is kept by nobody"),
    ],
    ids=range(17),
)
async def test_a_field_that_is_not_accepted_is_named(body: Any, field: str, problem: str) -> None:
    app = make_app()
    answer = await ask(app, "/api/publish", body)
    told = answer.json()
    assert (answer.status, told["field"], told["maybe_published"]) == (400, field, False)
    assert told["error"].startswith(f"{field}: {problem}" if field else problem)
    if isinstance(body, dict):
        at = f"messages[1].{field}"
        told = (await ask(app, "/api/batch", {"messages": [ONE, body]})).json()
        assert (told["field"], told["error"].startswith(f"{at}: {problem}")) == (at, True)


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        ({}, "messages", "accepted is a list of 1 to 1000 messages, not null"),
        ({"messages": {}}, "messages", "accepted is a list of 1 to 1000 messages, not an object"),
        ({"messages": []}, "messages", "accepted are 1 to 1000 messages, not 0"),
        ({"messages": [ONE] * 1001}, "messages", "accepted are 1 to 1000 messages, not 1001"),
        ({"messages": [ONE], "key": "x"}, "key", "there is no such field; accepted are messages"),
        ({"messages": [ONE, True]}, "messages[1]", "accepted is an object with group"),
    ],
    ids=range(6),
)
async def test_a_batch_that_is_not_accepted(body: Any, field: str, problem: str) -> None:
    answer = await ask(make_app(), "/api/batch", body)
    assert (answer.status, answer.json()["field"]) == (400, field)
    assert answer.json()["error"].startswith(f"{field}: {problem}")


async def test_two_keys_for_one_message() -> None:
    headers = [(b"idempotency-key", b"order-7")]
    answer = await ask(make_app(), "/api/publish", ONE | {"key": "order-8"}, headers=headers)
    assert (answer.status, answer.json()["error"]) == (
        400,
        "key: it differs from the header Idempotency-Key: give one of the two",
    )
    answer = await ask(make_app(), "/api/batch", {"messages": [ONE]}, headers=headers)
    assert (answer.status, answer.json()["error"]) == (
        400,
        "a batch has no Idempotency-Key: each of its messages has a key of its own",
    )


async def test_what_is_no_json_and_what_is_too_big() -> None:
    app = make_app(max_body_size=2000, outbox_bytes=1000)
    assert (await ask(app, "/api/publish", b"{")).status == 400
    assert (await ask(app, "/api/publish", b" " * 2001)).status == 413
    async with connect(app, "/room"):
        await wait_all_tasks_blocked()
        answer = await publish(app, "x" * 1500)
        assert (answer.status, answer.json()["field"], answer.json()["maybe_published"]) == (413, "payload", False)
        assert "outboxes hold 1000" in answer.json()["error"]
        answer = await ask(app, "/api/batch", {"messages": [ONE, ONE | {"payload": "x" * 1500}, ONE]})
        assert (answer.status, answer.json()["field"]) == (413, "messages[1].payload")
        assert len(answer.json()["results"]) == 1


# The engine


class Linked(MemoryEngine):
    """An engine of several processes whose link may be down."""

    is_local = False
    error: EngineError | None = None
    posts = 0

    def post(self, group: str, message: Any, *, keep: HistoryLimits | None = None, key: str | None = None) -> Receipt:
        self.posts += 1
        if self.error is None:
            return super().post(group, message, keep=keep, key=key)
        if not self.error.maybe_published:
            raise self.error
        receipt = Receipt()
        receipt.fail(self.error)
        return receipt


@pytest.mark.parametrize("maybe", [False, True])
async def test_an_engine_that_is_down(maybe: bool) -> None:
    engine = Linked()
    app = make_app(box=ChannelBox(engine))
    async with lifespan(app):
        engine.error = EngineError("the link is down", maybe_published=maybe)
        answer = await publish(app, 1)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.json() == {"error": str(engine.error), "status": 503, "maybe_published": maybe}
        engine.posts = 0
        answer = await ask(app, "/api/batch", {"messages": [ONE, ONE, ONE]})
        assert (answer.status, answer.json()["results"], answer.json()["maybe_published"]) == (503, [], maybe)
        assert engine.posts == 1  # a message that comes again is not behind those that followed it
        engine.error = None
        assert (await publish(app, 1)).status == 200
