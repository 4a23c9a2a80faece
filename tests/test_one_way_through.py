"""One way through: how many functions and files of ours a message, a join and a leave pass, counted in the server.

Each test prints the functions in the order in which they begin, for those who want to follow one message
(`pytest -s tests/test_one_way_through.py`). A number that falls is written here as the new ceiling.

A leave by disconnect is counted from the poller, which finds the socket readable, to the freed place among the server's
connections. It has two ceilings: until the member is out of its groups and forgotten, and the whole. The whole ends one
thing after the other, each in a function that can be read alone: the handler's block and its tasks, the session, the
transport's block, two context variables, the counts, the application's services, the server's place. Merging them would
lower the number and nothing else.
"""

import dis
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import CodeType, FrameType

import pytest
from trio.testing import wait_all_tasks_blocked

import nexios_trio
from nexios_trio import NexiosApp
from nexios_trio.transports import epoll
from nexios_trio.websockets import ChannelBox, WebSocket, open_channel
from tests.server.support import Raw, frame, running

OURS = Path(nexios_trio.__file__).parent
ROOM = "room"
TEXT = 1
HOPS = [  # what the page "Life of a message" names
    f"{hop['file']}: {hop['function']}"
    for hop in tomllib.loads((Path(__file__).parents[1] / "docs" / "hops.toml").read_text())["hop"]
    if hop["function"]
]
MESSAGE_FUNCTIONS, MESSAGE_FILES = 26, 13
JOIN_FUNCTIONS = 13
OUT_FUNCTIONS, LEAVE_FUNCTIONS = 28, 68  # four set a timer, which is set already where others have just left
OUT = "groups/memberships.py: Memberships.forget"  # a leave up to here
# Here the handler gets its last deadline, which is no step of leaving: counted with the whole.
DEADLINES = ("transports/timers.py", "connections/timeouts.py", "core/deadlines.py")
WHOSE = {  # what else has to end at a disconnect
    "the deadlines": DEADLINES,
    "the server and the application": (
        "server/",
        "application/",
        "connections/runtime.py",
        "transports/server_context.py",
        "transports/forks.py",
    ),
    "the socket": ("transports/", "protocol/"),
    "the handler and its session": ("",),
}
RESUME = dis.opmap["RESUME"]
SUSPENDED = (
    RESUME,
    dis.opmap["YIELD_VALUE"],
)  # where a function stands that waits: from Python 3.13 on behind the yield
FROM_THE_START = 0  # as RESUME's argument; others go on after a yield or an await


@pytest.fixture(autouse=True)
def every_turn_is_quick(monkeypatch):
    """On a busy machine a connection's turn may take so long that the poller puts it behind the others."""
    monkeypatch.setattr(epoll, "perf_counter", lambda: 0.0)


class Passed:
    """The functions of ours that a message passes: they begin or end while it is counted, or call one that begins.

    A coroutine that only hands the wake-up on to the one that it awaits is not passed: nobody who follows the message
    has to read it. `__call__` is for `sys.setprofile`.
    """

    def __init__(self) -> None:
        self._codes: dict[CodeType, None] = {}

    def __call__(self, at: FrameType, event: str, _: object) -> None:
        if at.f_lasti < 0 or event not in ("call", "return"):
            return
        operation, argument = at.f_code.co_code[at.f_lasti : at.f_lasti + 2]
        if event == "call" and operation == RESUME and argument & 3 == FROM_THE_START:
            if at.f_back is not None:
                self._codes[at.f_back.f_code] = None
            self._codes[at.f_code] = None
        elif event == "return" and operation not in SUSPENDED:
            self._codes[at.f_code] = None

    @property
    def functions(self) -> list[str]:
        """As `folder/file.py: Class.function`, in order. A comprehension belongs to its function."""
        return [
            f"{Path(code.co_filename).relative_to(OURS)}: {code.co_qualname}"
            for code in self._codes
            if Path(code.co_filename).is_relative_to(OURS) and not code.co_name.endswith(("comp>", "genexpr>"))
        ]

    @property
    def files(self) -> set[str]:
        return {function.partition(":")[0] for function in self.functions}

    def show(self, title: str) -> None:
        print(f"\n{title}: {len(self.functions)} functions in {len(self.files)} files")
        for function in self.functions:
            print(f"  {function}")


@contextmanager
def counted() -> Iterator[Passed]:
    passed = Passed()
    sys.setprofile(passed)
    try:
        yield passed
    finally:
        sys.setprofile(None)


class Talk:
    """An application with one group, whose members send what they hear to all of it."""

    def __init__(self) -> None:
        self.app = NexiosApp()
        self.app.add_ws_route(self.talk, "/talk")
        self.app.add_ws_route(self.join, "/join")
        self.passed = Passed()  # by the last join

    async def talk(self, ws: WebSocket) -> None:
        async with open_channel(ws, payload_type="text") as channel, channel.member(ROOM):
            while True:
                await ChannelBox.group_send(ROOM, await ws.receive_text())

    async def join(self, ws: WebSocket) -> None:
        async with open_channel(ws, payload_type="text") as channel:
            await wait_all_tasks_blocked()
            with counted() as self.passed:
                await ChannelBox.add_channel_to_group(channel, ROOM)
            await channel.send("joined")
            await channel.receive()  # until it is over


@asynccontextmanager
async def two_members(talk: Talk) -> AsyncIterator[tuple[Raw, Raw]]:
    """A and B, members of a group, after everything has been done once."""
    async with running(talk.app) as server, await server.connect() as a, await server.connect() as b:
        for client in (a, b):
            await client.handshake("/talk")
        for sender in (a, b, a):
            await say(sender, a, b)
        await wait_all_tasks_blocked()
        yield a, b


async def say(sender: Raw, *members: Raw) -> None:
    await sender.send(frame(TEXT, b'{"t":1}'))
    for member in members:
        assert await member.frame() == (TEXT, b'{"t":1}')


async def test_a_message_from_a_to_b():
    async with two_members(Talk()) as (a, b):
        with counted() as passed:
            await say(a, a, b)
            await wait_all_tasks_blocked()
    passed.show("a message from A to B")
    assert sorted(passed.functions) == sorted(HOPS)
    assert len(passed.functions) <= MESSAGE_FUNCTIONS
    assert len(passed.files) <= MESSAGE_FILES


async def test_a_join():
    talk = Talk()
    async with running(talk.app) as server, await server.connect() as first, await server.connect() as second:
        for client in (first, second):
            await client.handshake("/join")
            assert await client.frame() == (TEXT, b"joined")
    talk.passed.show("a join")
    assert len(talk.passed.functions) <= JOIN_FUNCTIONS


async def test_a_leave_by_disconnect():
    async with two_members(Talk()) as (_, b):
        with counted() as passed:
            await b.stream.aclose()
            await wait_all_tasks_blocked()
    passed.show("a leave by disconnect")
    whole = passed.functions
    until_out = [one for one in whole[: whole.index(OUT) + 1] if not one.startswith(DEADLINES)]
    print(f"\nuntil the member is out of its groups and forgotten: {len(until_out)} functions")
    rest = [one for one in whole if one not in until_out]
    for whose, files in WHOSE.items():
        mine = [one for one in rest if one.startswith(files)]
        rest = [one for one in rest if one not in mine]
        print(f"the end of {whose}: {len(mine)}", *mine, sep="\n  ")
    assert len(until_out) <= OUT_FUNCTIONS
    assert len(whole) <= LEAVE_FUNCTIONS
