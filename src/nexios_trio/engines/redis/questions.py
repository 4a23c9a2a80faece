"""Questions of one node to all others, by a Redis or Valkey server: a channel of all, and one of each for its answers.

A question is the asking node's id (8 bytes), a number (4 bytes), and what is asked; an answer is the number, and what
is answered.
"""

import logging
import struct
from itertools import count
from typing import Any, Final

import trio

from ...exceptions import EngineError
from ..base import Answer, no_answer
from .client import Reach, RedisClient
from .keys import RedisKeys

__all__ = ["Questions"]

logger = logging.getLogger("nexios_trio.box")

_NUMBER: Final = struct.Struct(">I")
NODE_BYTES: Final = 8


class _Question:
    """What the others have answered to one question."""

    def __init__(self, others: int) -> None:
        self.others = others
        self.answers: list[bytes] = []
        self.is_over = trio.Event()

    def add(self, answer: bytes) -> None:
        self.answers.append(answer)
        self.check()

    def check(self) -> None:
        if len(self.answers) >= self.others >= 0:
            self.is_over.set()


class Questions:
    """Owned by an engine."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self.keys = RedisKeys("")
        self.answer: Answer = no_answer
        self._asked: dict[int, _Question] = {}
        self._numbers = count(1)

    def listen(self, reach: Reach) -> None:
        """There is a new link."""
        for channel in (self.keys.everybody, self.keys.answers):
            if self._client.link is not None and reach(channel):
                self._client.link.subscribe(channel)

    def take(self, channel: bytes, payload: bytes) -> bool:
        """Take a question or an answer. Returns whether it was one."""
        if channel == self.keys.everybody:
            node = payload[:NODE_BYTES]
            if node != self.keys.node:
                self._reply(node, payload[NODE_BYTES : NODE_BYTES + _NUMBER.size], payload[NODE_BYTES + _NUMBER.size :])
            return True
        if channel == self.keys.answers:
            question = self._asked.get(_NUMBER.unpack_from(payload)[0])
            if question is not None:
                question.add(payload[_NUMBER.size :])
            return True
        return False

    def _reply(self, node: bytes, number: bytes, request: bytes) -> None:
        try:
            answer = self.answer(request)
        except Exception:
            logger.exception("a question of another node's could not be answered")
            answer = b""
        if self._client.link is not None:
            self._client.link.post(self._client.publish, self.keys.answers_of(node), number + answer)

    async def ask(self, request: bytes, seconds: float) -> list[bytes]:
        """Return what all others answer, or those that do in time.

        Checkpoint: always. Raises: EngineError when they could not be asked.
        """
        number = next(self._numbers) & 0xFFFF_FFFF
        self._asked[number] = question = _Question(-1)
        until = trio.current_time() + seconds
        try:
            listening: Any = await self._client.command(
                self._client.publish, self.keys.everybody, self.keys.node + _NUMBER.pack(number) + request
            )
            if not listening:
                raise EngineError("there is nobody to ask: not even this node hears itself")
            question.others = listening - 1
            question.check()
            with trio.move_on_at(until):
                await question.is_over.wait()
        finally:
            del self._asked[number]
        return question.answers
