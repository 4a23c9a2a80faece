"""Who is present, by a Redis or Valkey server: what this node says, and what it reads. `presence_scripts` does it.

A server that was started again, or has lost everything, knows of nobody, or of old, until the nodes have told it again.
Who has read there before reads on a moment later, so that those who are about to be told of do not leave.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import attrs
import trio

from ...core.message import Position
from ...exceptions import EngineError
from ..presence import LeaseLost, PresenceEdit, PresencePage, PresentClient, Renewal
from ..receipt import Receipt
from .client import RedisClient, is_elsewhere
from .keys import LIFE_MS, RedisKeys
from .link import LinkLost, RedisRefusal, Word

__all__ = ["RedisPresence", "renewal_words"]

PAGE_BYTES: Final = 16_777_216  # of who is present in one group
SETTLING_SECONDS: Final = 2.5  # all nodes have another link by then, and have said what they hold
MAX_LEASE_MS: Final = 1_000_000_000_000


@attrs.define(eq=False)
class _Flight:
    """A renewal on its way."""

    renewal: Renewal
    deadline: float
    receipt: Receipt = attrs.Factory(Receipt)


def renewal_words(renewal: Renewal) -> tuple[Word, ...]:
    """Return what the script is told."""
    lease = min(round(renewal.lease * 1000), MAX_LEASE_MS) if renewal.lease < MAX_LEASE_MS else MAX_LEASE_MS
    words: list[Word] = [renewal.node, renewal.number, max(1, lease), int(renewal.is_first)]
    for edit in renewal.edits:
        info = json.dumps(edit.info)
        words += (edit.group, edit.client, int(edit.is_present), _user_word(edit), round(edit.grace * 1000), info)
    return tuple(words)


def _user_word(edit: PresenceEdit) -> str:
    return f"c{edit.client}" if edit.user is None else json.dumps(edit.user)


class RedisPresence:
    """Owned by an engine.

    Args:
        on_return: called when what this node has said may be forgotten.
    """

    def __init__(self, client: RedisClient, on_return: Callable[[], None]) -> None:
        self._client = client
        self._on_return = on_return
        self.keys = RedisKeys("")
        self._flights: dict[_Flight, None] = {}  # the first to be late first
        self._added = trio.Event()
        self._epoch = b""  # of what was read last

    # What this node says

    def renew(self, renewal: Renewal, deadline: float) -> Receipt:
        """Say it, once: who has no answer says all of it again. Raises: EngineError while there is no link."""
        flight = _Flight(renewal, deadline)
        if not self._run("renew", renewal_words(renewal), partial(self._renewed, flight)):
            raise EngineError(f"there is no link to {self._client.address}")
        self._flights[flight] = None
        self._added.set()
        return flight.receipt

    def _run(self, name: str, words: tuple[Word, ...], then: Callable[[Any], None]) -> bool:
        return self._client.run_script(name, self.keys.presence, (*self._first_words(), *words), then)

    def _first_words(self) -> tuple[Word, ...]:
        return (self.keys.nonce, self.keys.presence_channels, LIFE_MS)

    def _renewed(self, flight: _Flight, answer: Any) -> None:
        self._flights.pop(flight, None)
        if isinstance(answer, LinkLost):
            flight.receipt.fail(EngineError("the link was lost before the answer", maybe_published=True))
        elif isinstance(answer, RedisRefusal):
            if is_elsewhere(answer):
                self._client.leave(answer)
            flight.receipt.fail(EngineError(f"{self._client.address} refuses: {answer}", maybe_published=True))
        else:
            holds, has_more = answer
            if has_more:
                self._reap()
            if holds:
                flight.receipt.settle(None)
            else:
                flight.receipt.fail(LeaseLost(f"the lease of node {flight.renewal.node} is over"))

    def _reap(self) -> None:
        """Go on with what was too much for one time."""
        self._run("reap", (), lambda has_more: self._reap() if has_more == 1 else None)

    async def keep_deadlines(self) -> None:
        """Fail what is late. Checkpoint: always; never returns."""
        while True:
            while not self._flights:
                self._added = trio.Event()
                await self._added.wait()
            await trio.sleep_until(next(iter(self._flights)).deadline)
            now = trio.current_time()
            for flight in [flight for flight in self._flights if flight.deadline <= now]:
                self._fail(flight, f"no answer from {self._client.address} in time")

    def _fail(self, flight: _Flight, why: str) -> None:
        self._flights.pop(flight, None)
        flight.receipt.fail(EngineError(why, maybe_published=True))

    def end(self) -> None:
        """The engine ends: fail all."""
        for flight in list(self._flights):
            self._fail(flight, "the engine has ended")

    # What it reads

    async def page(self, group: str, seconds: float) -> PresencePage:
        """Return who is present in a group. Checkpoint: always. Raises: EngineError."""
        with trio.move_on_after(seconds):
            while True:
                has_more, epoch, age_ms, own, top, *rows = await self._read(group)
                settles_in = SETTLING_SECONDS - age_ms / 1000
                if self._epoch not in (b"", epoch) and settles_in > 0:
                    self._on_return()
                    await trio.sleep(settles_in)
                elif not has_more:
                    self._epoch = epoch
                    return PresencePage(Position(top, own.decode()), _clients(rows))
        raise EngineError(f"no answer from {self._client.address} in {seconds:g} s")

    async def _read(self, group: str) -> list[Any]:
        words = (*self._first_words(), group, PAGE_BYTES)
        answer: list[Any] = await self._client.call("present", self.keys.presence, *words)
        if answer[5:] == [-1]:
            raise EngineError(f"more than {PAGE_BYTES} bytes of who is present in group {group!r}")
        return answer


def _clients(rows: list[Any]) -> tuple[PresentClient, ...]:
    return tuple(
        [
            PresentClient(client.decode(), json.loads(user) if user[:1] == b'"' else None, json.loads(info))
            for client, user, info in zip(rows[::3], rows[1::3], rows[2::3], strict=True)
        ]
    )
