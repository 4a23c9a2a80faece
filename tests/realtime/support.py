"""A client of the protocol for tests: objects in, objects out, in either encoding."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from nexios_trio import NexiosApp
from nexios_trio.realtime.protocol.codecs import JSON
from nexios_trio.realtime.protocol.parts import Error
from nexios_trio.realtime.protocol.replies import Push, Reply
from nexios_trio.realtime.protocol.requests import Command, ConnectRequest, SubscribeRequest
from nexios_trio.testing import connect

PATH = "/realtime"


class Talker:
    """One client. `ask` gives the answer to a command; what comes unasked is in `pushes`."""

    def __init__(self, client, codec):
        self.client = client
        self.codec = codec
        self.pushes = []
        self.pings = 0
        self._ids = count(1)
        self._answers = {}

    async def send(self, *commands):
        frame = self.codec.join([self.codec.encode(command) for command in commands])
        await self.send_raw(frame.decode() if self.codec.is_text else frame)

    async def send_raw(self, frame):
        await (self.client.send_text if isinstance(frame, str) else self.client.send_bytes)(frame)

    async def read(self):
        """Take one message of the server's."""
        receive = self.client.receive_text if self.codec.is_text else self.client.receive_bytes
        [*replies] = self.codec.decode_frame(await receive(), Reply)
        for reply in replies:
            if reply.id:
                self._answers[reply.id] = reply.body
            elif isinstance(reply.body, Push):
                self.pushes.append(reply.body)
            else:
                self.pings += 1

    async def answer(self, number):
        while number not in self._answers:
            await self.read()
        return self._answers.pop(number)

    async def ask(self, *requests):
        """Send commands in one frame. Returns the answer, or the answers to several."""
        commands = [Command(next(self._ids), request) for request in requests]
        await self.send(*commands)
        answers = [await self.answer(command.id) for command in commands]
        return answers[0] if len(answers) == 1 else answers

    async def connect(self, **fields):
        return await self.ask(ConnectRequest(**fields))

    async def subscribe(self, group, **fields):
        return await self.ask(SubscribeRequest(group, **fields))

    async def until(self, amount):
        """The first pushes, as many as that, in order."""
        while len(self.pushes) < amount:
            await self.read()
        return self.pushes

    async def publications(self, amount):
        """The data of the first publications, as many as that."""
        pushes = await self.until(amount)
        return [push.event.data.value for push in pushes]

    async def closed(self):
        """The code that the server closes with, after everything else."""
        return (await self.client.receive_close())[0]


@asynccontextmanager
async def talking(app, codec=JSON, path=PATH, *, connects=True, timeout=5.0, **fields) -> AsyncIterator[Talker]:
    async with connect(app, path, subprotocols=[codec.subprotocol], timeout=timeout) as client:
        talker = Talker(client, codec)
        if connects:
            answer = await talker.connect(**fields)
            assert not isinstance(answer, Error), answer
        yield talker


def open_app(**options):
    """An application whose endpoint lets everybody do everything; `room.*` is kept, and knows who is there."""
    app = NexiosApp(**options)
    app.box.keep("room.*")
    app.box.keep_presence("room.*", grace=0.0)
    realtime = app.realtime(PATH)
    realtime.groups("*", subscribe=True, publish=True, presence=True, history=True)
    realtime.on_connect(lambda client: client.token or None)
    return app, realtime
