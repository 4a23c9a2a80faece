"""Clients in processes of their own, with a library that is not ours: members that come back, publishers that try again.

    python -m tests.faults.clients members    says "ready" when all have joined; ends when all have had the end of their group
    python -m tests.faults.clients publishers says "enough" when all have sent what they should, and goes on until it is told
                                              to stop

Each is given a line of JSON, and prints one at its end: what it has seen.
"""

import json
import random
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import trio
import trio_websocket

GONE = (trio_websocket.ConnectionClosed, trio_websocket.HandshakeError, trio_websocket.ConnectionRejected, OSError)
END = -1  # the publisher of the message that is the last of its group
WAIT_SECONDS = 0.05  # before it is tried again
STAY = (20, 200)  # messages for which a member that comes and goes stays
TOO_BIG_BYTES = 1_100_000
SILENT_SECONDS = 30.0  # after which a connection on which nothing is said is given up


@asynccontextmanager
async def connected(port: int, path: str) -> AsyncGenerator[Any]:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream, trio.open_nursery() as nursery:
        with trio.fail_after(SILENT_SECONDS):
            socket = await trio_websocket.wrap_client_stream(nursery, stream, "127.0.0.1", path)
        try:
            yield socket
        finally:
            nursery.cancel_scope.cancel()


def leaf_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class Member:
    """A member of one group, for as long as messages come.

    Args:
        ports: of the nodes. It begins with the first.
        stays: it is told of gaps, and leaves for nothing else than the end of its connection; otherwise it comes and goes,
            to another node each time.
    """

    def __init__(self, group: str, ports: list[int], *, stays: bool, seed: int) -> None:
        self.group = group
        self.ports = ports
        self.stays = stays
        self.events: list[Any] = []  # as `count` wants them
        self.closed: dict[int, int] = {}  # code -> times
        self.position: str | None = None
        self.is_over = False
        self._has_come = False  # a message, over this connection
        self._was_sent_away = False  # the last time, since messages were missed
        self.has_joined = trio.Event()
        self._chance = random.Random(seed)

    async def run(self) -> None:
        turn = 0
        while not self.is_over:
            try:
                await self._visit(self.ports[turn % len(self.ports)])
            except BaseException as group:
                error = leaf_of(group)
                if isinstance(error, trio_websocket.ConnectionClosed) and error.reason is not None:
                    code = error.reason.code
                    self.closed[code] = self.closed.get(code, 0) + 1
                    self._was_sent_away = self._was_sent_away or error.reason.reason == "messages were missed"
                elif not isinstance(error, (*GONE, trio.TooSlowError)):
                    raise
                await trio.sleep(WAIT_SECONDS)
            if not self.stays:
                turn += 1

    async def _visit(self, port: int) -> None:
        query = {"since": self.position} if self.position else {}
        if self.stays:
            query["gaps"] = "yes"
        path = f"/member/{self.group}?" + "&".join(f"{name}={quote(value)}" for name, value in query.items())
        begin = len(self.events)
        self._has_come = False
        left = self._chance.randint(*STAY)
        async with connected(port, path) as socket:
            while not self.is_over and (self.stays or left > 0):
                with trio.fail_after(SILENT_SECONDS):
                    said = json.loads(await socket.get_message())
                left -= 1
                self._take(said, begin)

    def _take(self, said: dict[str, Any], begin: int) -> None:
        data = said["data"]
        if "position" in said:
            self.position, self._has_come = said["position"], True
            self.is_over = data[0] == END
            if not self.is_over:
                self.events.append(["came", data[0], data[1], self.position])
        elif "recovered" in data:
            self.events.append(["return", begin, data["recovered"], time.monotonic(), self._was_sent_away])
            self._was_sent_away = False
            if not self._has_come:
                self.position = data["position"]
            self.has_joined.set()
        else:
            self.events.append(["gap", data["after"], data["upto"], time.monotonic()])
            if data["after"] == self.position:
                self.position = data["upto"]


async def run_members(order: dict[str, Any]) -> dict[str, Any]:
    members = []
    for number, group in enumerate(order["groups"]):
        for first in range(len(order["ports"])):
            ports = order["ports"][first:] + order["ports"][:first]
            members += [
                Member(group, ports, stays=True, seed=0),
                Member(group, ports, stays=False, seed=10 * number + first),
            ]
    async with trio.open_nursery() as nursery:
        for member in members:
            nursery.start_soon(member.run)
        for member in members:
            await member.has_joined.wait()
        print("ready", flush=True)
    return {
        "members": [
            {
                "name": f"{'stays' if member.stays else 'comes and goes'}, {member.ports[0]}",
                "group": member.group,
                "events": member.events,
                "closed": member.closed,
            }
            for member in members
        ]
    }


class Publisher:
    """Sends one message after the other.

    Args:
        has_keys: it tries each again until somebody says that it is there; otherwise it goes on with the next.
    """

    def __init__(self, number: int, order: dict[str, Any], *, has_keys: bool) -> None:
        self.number = number
        self.order = order
        self.has_keys = has_keys
        self.sent: list[Any] = []
        self.next = 0  # number
        self.has_enough = trio.Event()

    async def run(self, stop: trio.Event) -> None:
        turn = self.number
        while not stop.is_set():
            try:
                async with connected(self.order["ports"][turn % len(self.order["ports"])], "/publish") as socket:
                    while not stop.is_set():
                        await self._publish(socket)
                        if self.next >= self.order["count"]:
                            self.has_enough.set()
            except BaseException as group:
                if not isinstance(leaf_of(group), (*GONE, trio.TooSlowError)):
                    raise
                await trio.sleep(WAIT_SECONDS)
            turn += 1

    async def _publish(self, socket: Any) -> None:
        number, groups = self.next, self.order["groups"]
        group, record = groups[number % len(groups)], self._record(number)
        order = {"group": group, "data": [self.number, number], "size": self.order.get("size", 0)}
        if self.has_keys:
            order["key"] = f"{self.number}-{number}"
        is_too_big = number % 10 == 1 and self.order.get("too_big", False)
        if is_too_big:
            order["size"] = TOO_BIG_BYTES
        record["tries"] += 1
        record["group"] = group
        before, record["maybe"] = record["maybe"], True  # until something else is known
        if not self.has_keys:
            self.next += 1  # whatever comes of it
        await socket.send_message(json.dumps(order))
        with trio.fail_after(SILENT_SECONDS):
            answer = json.loads(await socket.get_message())
        record["position"], record["maybe"] = answer.get("position"), before or answer.get("maybe", False)
        record["known_at"] = time.monotonic()
        if self.has_keys:
            if answer.get("position") or is_too_big:
                self.next += 1
            else:
                await trio.sleep(WAIT_SECONDS)

    def _record(self, number: int) -> dict[str, Any]:
        if not self.sent or self.sent[-1]["number"] != number:
            self.sent.append({"publisher": self.number, "number": number, "tries": 0, "maybe": False, "position": None})
        record: dict[str, Any] = self.sent[-1]
        return record


async def run_publishers(order: dict[str, Any]) -> dict[str, Any]:
    publishers = [Publisher(number, order, has_keys=number % 4 != 3) for number in range(order["publishers"])]
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        for publisher in publishers:
            nursery.start_soon(publisher.run, stop)
        for publisher in publishers:
            await publisher.has_enough.wait()
        print("enough", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        stop.set()
    return {"sent": [record for publisher in publishers for record in publisher.sent]}


def main() -> None:
    run = {"members": run_members, "publishers": run_publishers}[sys.argv[1]]
    print(json.dumps(trio.run(run, json.loads(sys.stdin.readline()))), flush=True)


if __name__ == "__main__":
    main()
