"""The official Python client against a server of ours: python checks.py URL ENCODING CASE

Says nothing and ends with 0 when all holds; else it says what did not.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from centrifuge import (
    CentrifugeError,
    Client,
    ClientEventHandler,
    ReplyError,
    Subscription,
    SubscriptionEventHandler,
)

URL, ENCODING, NAME = sys.argv[1:4]
IS_PROTOBUF = ENCODING == "protobuf"
DEADLINE = 60.0  # seconds


def encode(value: Any) -> Any:
    return json.dumps(value).encode() if IS_PROTOBUF else value


def decode(data: Any) -> Any:
    return json.loads(data) if IS_PROTOBUF else data


class Told(ClientEventHandler, SubscriptionEventHandler):
    """Notes what it is told: (event, context)."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.data: list[Any] = []
        self.offsets: list[int] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_") and name != "on_publication":
            return lambda context: self.note(name.removeprefix("on_"), context)
        return super().__getattribute__(name)

    async def note(self, event: str, context: Any) -> None:
        self.events.put_nowait((event, context))

    async def on_publication(self, ctx: Any) -> None:
        self.data.append(decode(ctx.pub.data))
        self.offsets.append(ctx.pub.offset)

    async def until(self, event: str) -> Any:
        while True:
            name, context = await self.events.get()
            if name == event:
                return context


def client(token: str = "", path: str = "/realtime", **options: Any) -> tuple[Client, Told]:
    told = Told()
    made = Client(
        URL + path,
        events=told,
        token=token,
        use_protobuf=IS_PROTOBUF,
        min_reconnect_delay=0.01,
        max_reconnect_delay=0.05,
        **options,
    )
    return made, told


async def connected(token: str = "", **options: Any) -> tuple[Client, Told, Any]:
    one, told = client(token, **options)
    await one.connect()
    return one, told, await told.until("connected")


async def subscribed(one: Client, group: str) -> tuple[Subscription, Told, Any]:
    told = Told()
    made = one.new_subscription(group, events=told, min_resubscribe_delay=0.01, max_resubscribe_delay=0.05)
    await made.subscribe()
    return made, told, await told.until("subscribed")


async def code_of(call: Awaitable[Any]) -> int:
    try:
        await call
    except ReplyError as error:
        return int(error.code)
    except CentrifugeError as error:
        raise AssertionError(f"another error: {error!r}") from error
    return 0


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # of asyncio
        await asyncio.sleep(0.005)


async def connect() -> None:
    one, _, context = await connected("ann", data=encode({"a": 1}))
    assert decode(context.data) == {"hello": "ann", "sent": {"a": 1}}
    assert context.client
    await one.disconnect()


async def a_token_that_is_none() -> None:
    one, told = client("bad")
    await one.connect()
    assert (await told.until("disconnected")).code == 3500


async def a_token_that_has_expired() -> None:
    asked = []

    async def get_token() -> str:
        asked.append(1)
        return "ann"

    one, told = client("expired:ann", get_token=get_token)
    await one.connect()
    await told.until("connected")
    assert asked == [1]
    await one.disconnect()


async def calls_and_messages() -> None:
    one, _, _ = await connected("ann")
    for value in (0, "text", [1, {"a": 2.5}], "ä\n"):
        assert decode((await one.rpc("echo", encode(value))).data) == value
    assert decode((await one.rpc("add", encode({"numbers": [1, 2, 3]}))).data) == 6
    assert await code_of(one.rpc("add", encode({"numbers": "x"}))) == 107
    assert await code_of(one.rpc("refuse", encode({}))) == 444
    assert await code_of(one.rpc("what", encode({}))) == 104
    answers = await asyncio.gather(*[one.rpc("echo", encode(number)) for number in range(20)])
    assert [decode(answer.data) for answer in answers] == list(range(20))
    await one.disconnect()


async def groups() -> None:
    one, _, context = await connected("ann")
    two, _, _ = await connected("bob")
    subscription, told, _ = await subscribed(one, f"room.here.{ENCODING}")
    await subscribed(two, f"room.here.{ENCODING}")
    present = (await subscription.presence()).clients
    assert {info.user for info in present.values()} == {"ann", "bob"}
    assert present[context.client].user == "ann"
    stats = await subscription.presence_stats()
    assert (stats.num_clients, stats.num_users) == (2, 2)
    for number in (1, 2, 3):
        await subscription.publish(encode(number))
    await until(lambda: len(told.data) == 3)
    assert (told.data, told.offsets) == ([1, 2, 3], [1, 2, 3])
    history = await subscription.history(limit=2, reverse=True)
    assert [decode(each.data) for each in history.publications] == [3, 2]
    assert (await subscription.history(limit=0)).publications == []
    secret = one.new_subscription("secret", events=(gone := Told()))
    await secret.subscribe()
    assert (await gone.until("unsubscribed")).code == 103
    await one.rpc("drop", encode(f"room.here.{ENCODING}"))
    assert (await told.until("unsubscribed")).code == 2000
    await one.disconnect()
    await two.disconnect()


async def twenty_cuts() -> None:
    one, _, _ = await connected("ann")
    sender, _, _ = await connected("bob")
    group = f"room.cuts.{ENCODING}.python"
    _, told, _ = await subscribed(one, group)
    await sender.rpc("flood", encode({"group": group, "count": 3000, "pause": 0.005}))
    for _ in range(20):
        more = min(len(told.data) + 40, 3000)
        await until(lambda more=more: len(told.data) >= more)  # type: ignore[misc]
        transport: Any = one._conn
        transport.transport.abort()
        context = await told.until("subscribed")
        assert context.was_recovering
        assert context.recovered
    await until(lambda: len(told.data) >= 3000)
    assert [number for number, _ in told.data] == list(range(1, 3001))
    assert told.offsets == list(range(1, 3001))
    await one.disconnect()
    await sender.disconnect()


async def pings() -> None:
    one, told, _ = await connected("ann", path="/quick")
    await asyncio.sleep(3.5)
    assert one.state.value == "connected"
    assert told.events.empty()
    await one.disconnect()


CASES = {
    "connect": connect,
    "a token that is none": a_token_that_is_none,
    "a token that has expired": a_token_that_has_expired,
    "calls and messages": calls_and_messages,
    "groups": groups,
    "twenty cuts": twenty_cuts,
    "pings": pings,
}

if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(CASES[NAME](), DEADLINE))
