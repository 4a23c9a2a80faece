"""What this node tells the engine of its connections that are present: what has changed, and that it lives.

    one renewal on its way     what changes meanwhile goes with the next one, the last word of each connection alone
    it failed                  what it said is said again a second later: whoever hears it twice does nothing twice
    the lease was lost         everything is said again, in the name of a new incarnation
    nothing has changed        a renewal every third of the lease, one for all connections, and one when a grace is over

With the engine of one process, a renewal is done at once, and there is no lease.
"""

import logging
from heapq import heappop, heappush
from math import inf
from typing import Final
from uuid import uuid4

import attrs
import trio

from ..engines.base import Engine, Receipt
from ..engines.presence import LeaseLost, PresenceEdit, Renewal
from ..exceptions import EngineError
from ..transports.timers import Timer, Timers

__all__ = ["PresenceNode"]

logger = logging.getLogger("nexios_trio.box")

MAX_EDITS: Final = 500  # in one renewal
RETRY_SECONDS: Final = 1.0
GRACE_STEP_SECONDS: Final = 0.1  # graces that end in one step end together;
GRACE_STEPS: Final = 100  # of longer ones, this part of them is a step

Key = tuple[str, str]  # group, connection


class PresenceNode:
    """Owned by a box. Synchronous; raises nothing that an engine raises.

    Args:
        timers: the box's.
    """

    def __init__(self, engine: Engine, timers: Timers) -> None:
        self.engine = engine
        self.lease = inf  # seconds: the shortest that any policy names
        self.watches = 0  # of groups whose changes somebody follows here
        self.lost_leases = 0  # with somebody present
        self.entries: dict[Key, PresenceEdit] = {}  # who is present by way of this node
        self._edits: dict[Key, PresenceEdit] = {}  # what is to be said
        self._flight: Renewal | None = None
        self._is_sending = False
        self._node = uuid4().hex
        self._number = 0
        self._is_known = False  # the engine has the incarnation
        self._timers = timers
        self._timer = Timer(self._tick)
        self._graces: list[float] = []  # a heap of times at which some are over: `trio.current_time()`
        engine.on_return = self._return
        self._quiet = trio.lowlevel.ParkingLot()  # those who wait until nothing is to be said

    def enter(self, edit: PresenceEdit) -> None:
        """Say that a connection is present, or that its info is another one."""
        self.entries[edit.group, edit.client] = edit
        self._say(edit)

    def leave(self, group: str, client: str) -> bool:
        """Say that it is not any more. Returns False for one that is not."""
        edit = self.entries.pop((group, client), None)
        if edit is not None:
            self._say(attrs.evolve(edit, is_present=False))
        return edit is not None

    def follow(self, count: int) -> None:
        """Note that so many more follow changes here."""
        self.watches += count
        self._set_timer()

    async def settle(self) -> None:
        """Wait until the engine has heard everything, for its deadline at most. A checkpoint if it has not."""
        if self._edits or self._flight is not None:
            with trio.move_on_after(self.engine.deadline):
                await self._quiet.park()

    def _say(self, edit: PresenceEdit) -> None:
        key = edit.group, edit.client
        self._edits.pop(key, None)
        self._edits[key] = edit
        self._send()

    def _return(self) -> None:
        """The engine reaches the others again, who may have forgotten this node: say at once that it is there."""
        if self.entries or self._edits or self.watches:
            self._send(is_tick=True)

    def _tick(self) -> None:
        now = trio.current_time()
        while self._graces and self._graces[0] <= now:
            heappop(self._graces)
        self._send(is_tick=True)

    def _send(self, is_tick: bool = False) -> None:
        """Send what is to be said, if nothing is on its way."""
        if self._is_sending:  # the engine answers at once: whoever is in the loop goes on
            return
        self._is_sending = True
        try:
            while self._flight is None and (self._edits or is_tick):
                is_tick = False
                if not self._send_one():
                    break
        finally:
            self._is_sending = False
        self._set_timer()

    def _send_one(self) -> bool:
        """Send one renewal. Returns whether there may be another."""
        keys = list(self._edits)[:MAX_EDITS] if len(self._edits) > MAX_EDITS else list(self._edits)
        edits = tuple([self._edits.pop(key) for key in keys])
        self._number += 1
        lease = inf if self.engine.is_local else self.lease
        self._flight = flight = Renewal(self._node, self._number, lease, edits, not self._is_known)
        try:
            receipt = self.engine.renew(flight)
        except EngineError as error:
            receipt = Receipt()
            receipt.fail(error)
        if not receipt.is_settled:
            receipt.then(self._landed)
            return False
        return self._take(receipt)

    def _landed(self, receipt: Receipt) -> None:
        if self._take(receipt):
            self._send()
        else:
            self._set_timer(retries=True)

    def _take(self, receipt: Receipt) -> bool:
        """Take the answer to what was on its way. Returns whether to go on."""
        flight, self._flight = self._flight, None
        assert flight is not None
        if receipt.error is None:
            self._is_known = True
            for edit in flight.edits:
                if not edit.is_present and edit.grace:
                    self._expect(edit.grace)
        elif isinstance(receipt.error, LeaseLost):
            if len(self.entries) > len(flight.edits):  # else it was idle, and let the lease go
                self.lost_leases += 1
                logger.warning(
                    "this process was taken for dead, or forgotten: its %d presences begin anew", len(self.entries)
                )
            self._node, self._number, self._is_known = uuid4().hex, 0, False
            self._edits = dict(self.entries)
        else:
            said = {(edit.group, edit.client): edit for edit in flight.edits}
            self._edits = {**said, **self._edits}
            self._set_timer(retries=True)
            return False
        if not self._edits:
            self._quiet.unpark_all()
        return True

    def _expect(self, grace: float) -> None:
        """Renew when this grace is over, since the engine goes by what it is asked."""
        step = max(GRACE_STEP_SECONDS, grace / GRACE_STEPS)
        when = (int((trio.current_time() + grace) / step) + 1) * step
        if when not in self._graces:
            heappush(self._graces, when)

    def _set_timer(self, *, retries: bool = False) -> None:
        """Wake up for what comes next."""
        if self._flight is not None:
            return
        now = trio.current_time()
        when = self._graces[0] if self._graces else inf
        if retries or self._edits:
            when = min(when, now + RETRY_SECONDS)
        if (self.entries or self.watches) and not self.engine.is_local:
            when = min(when, now + self.lease / 3)
        if when < inf:
            self._timers.set(self._timer, when)
        else:
            self._timers.stop(self._timer)
