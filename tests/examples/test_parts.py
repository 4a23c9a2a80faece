"""The examples of the supplied parts, as a client sees them; time is virtual."""

from typing import Any

import pytest
import trio

from nexios_trio.testing import ConnectionOver
from nexios_trio.testing.client import connect
from tests.examples.support import EXAMPLES, load

PROGRAMS = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "__init__")
BEAT = {"type": "heartbeat"}


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_is_short_and_says_how_to_run_it(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert f"nexios-trio run examples.{name}:app" in text or f"python -m examples.{name}" in text


def test_every_example_is_shown_in_the_docs() -> None:
    page = (EXAMPLES.parent / "docs" / "guides" / "examples.md").read_text(encoding="utf-8")
    assert [name for name in PROGRAMS if f"examples/{name}.py" not in page] == []


async def test_heartbeat(autojump_clock: Any) -> None:
    async with connect(load("heartbeat").app, "/ws", timeout=60) as silent:
        assert [await silent.receive_json() for _ in range(2)] == [BEAT, BEAT]
        await silent.send_text("hello")
        assert await silent.receive_text() == "You said: hello"
        with pytest.raises(ConnectionOver) as over:
            while True:
                assert await silent.receive_json() == BEAT
        assert (over.value.code, over.value.reason) == (4000, "no sign of life")


async def test_rate_limit_of_messages(autojump_clock: Any) -> None:
    async with connect(load("rate_limit").app, "/ws") as client:
        for number in range(10):
            await client.send_text(str(number))
            assert await client.receive_text() == f"You said: {number}"
        await trio.sleep(0.7)  # one more has flowed in
        await client.send_text("patient")
        assert await client.receive_text() == "You said: patient"
        await client.send_text("too many")
        assert await client.receive_close() == (1008, "too many messages")


async def test_rate_limit_of_connections(autojump_clock: Any) -> None:
    app = load("rate_limit").app
    for _ in range(5):
        async with connect(app, "/ws"):
            pass
    async with connect(app, "/ws") as sixth:
        assert await sixth.receive_close() == (4002, "too many connections")
    async with connect(app, "/ws", client=("192.0.2.1", 1)) as other:
        await other.send_text("hi")
        assert await other.receive_text() == "You said: hi"
    await trio.sleep(60)
    async with connect(app, "/ws") as later:
        await later.send_text("hi")
        assert await later.receive_text() == "You said: hi"


GOOD, BAD = "open-sesame", "open-sesam"


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("/message", {}, {"token": GOOD}),
        ("/cookie", {"cookies": {"session": GOOD}}, None),
        ("/subprotocol", {"subprotocols": ["bearer", GOOD]}, None),
    ],
)
async def test_authentication_lets_in(path: str, options: Any, message: Any) -> None:
    async with connect(load("authentication").app, path, **options) as client:
        if message is not None:
            await client.send_json(message)
        assert await client.receive_json() == {"hello": "ali"}
        await client.send_text("hi")
        assert await client.receive_json() == {"from": "ali", "text": "hi"}
        assert GOOD not in (client.accepted_subprotocol or "")


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("/message", {}, {"token": BAD}),
        ("/message", {}, {"token": "ö"}),
        ("/message", {}, [1]),
        ("/cookie", {"cookies": {"session": BAD}}, None),
        ("/cookie", {}, None),
        ("/subprotocol", {"subprotocols": ["bearer", BAD]}, None),
        ("/subprotocol", {"subprotocols": [GOOD]}, None),
    ],
)
async def test_authentication_keeps_out(path: str, options: Any, message: Any) -> None:
    async with connect(load("authentication").app, path, **options) as client:
        if message is not None:
            await client.send_json(message)
        assert await client.receive_close() == (4001, "authentication failed")


async def test_authentication_lasts_an_hour(autojump_clock: Any) -> None:
    async with connect(load("authentication").app, "/cookie", cookies={"session": GOOD}, timeout=4000) as client:
        assert await client.receive_json() == {"hello": "ali"}
        assert await client.receive_close() == (4001, "authentication has expired")


async def test_validation() -> None:
    app = load("validation").app
    async with connect(app, "/bids") as ann, connect(app, "/bids") as bob:
        for wrong, field, accepted in [
            ({"item": "clock"}, "price", "this field is required"),
            ({"item": "clock", "price": "30"}, "price", "a whole number"),
            ({"item": "clock", "price": 1, "prize": 1}, "prize", "the fields item, price, note"),
        ]:
            await ann.send_json(wrong)
            reply = await ann.receive_json()
            assert (reply["error"], reply["details"][0]["field"]) == ("invalid message", field)
            assert reply["details"][0]["accepted"] == accepted
        await ann.send_text("30 for the clock")
        assert (await ann.receive_json())["details"][0]["accepted"] == "a JSON object"
        await ann.send_json({"item": "clock", "price": 30})
        assert await ann.receive_json() == await bob.receive_json() == {"item": "clock", "price": 30}


async def test_offline_queue(autojump_clock: Any) -> None:
    app = load("offline_queue").app
    async with connect(app, "/mail/ann", timeout=300) as ann:
        async with connect(app, "/mail/bob") as bob:
            await ann.send_json({"to": "bob", "text": "1"})
            assert await bob.receive_json() == {"from": "ann", "text": "1"}
        for text in ("2", "3"):
            await ann.send_json({"to": "bob", "text": text})
        await trio.sleep(100)
        async with connect(app, "/mail/bob") as bob:
            await ann.send_json({"to": "bob", "text": "4"})
            assert [(await bob.receive_json())["text"] for _ in range(3)] == ["2", "3", "4"]
        await trio.sleep(121)
        await ann.send_json({"to": "bob", "text": "5"})
        assert await ann.receive_json() == {"error": "bob was not here in the last two minutes"}


async def test_secure_channel() -> None:
    app = load("secure_channel").app
    async with connect(app, "/vault") as ali, connect(app, "/vault") as stranger:
        await ali.send_json({"token": GOOD})
        assert await ali.receive_json() == {"opened by": "ali"}
        await ali.send_json({"say": "hello"})
        assert await ali.receive_json() == {"user": "ali", "said": "hello"}
        await stranger.send_json({"say": "hello"})
        code, reason = await stranger.receive_close()
        assert (code, reason.startswith("not authenticated")) == (4001, True)
    async with connect(app, "/vault") as guesser:
        await guesser.send_json({"token": BAD})
        assert await guesser.receive_close() == (4001, "authentication failed")


async def test_inbox(autojump_clock: Any) -> None:
    app = load("inbox").app
    async with connect(app, "/inbox?user=ann") as one, connect(app, "/inbox?user=bob") as bob:
        async with connect(app, "/inbox?user=ann") as two:
            await bob.send_json({"to": "ann", "text": "hello"})
            heard = [await device.receive_json() for device in (one, two)]
            assert [message["data"] for message in heard] == [{"from": "bob", "text": "hello"}] * 2
        await bob.send_json({"to": "ann", "text": "are you there?"})
        await one.receive_json()
        async with connect(app, "/inbox", query={"user": "ann", "since": heard[1]["position"]}) as two:
            assert (await two.receive_json())["data"]["text"] == "are you there?"
            await one.send_json({"sign out everywhere": True})
            for device in (one, two):
                assert await device.receive_close() == (1000, "signed out")
