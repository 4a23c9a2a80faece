"""The part of an engine over a link that may fail which says who is present by way of its node."""

from functools import partial

import trio

from ...engines.base import Engine, Receipt
from ...engines.presence import LeaseLost, PresencePage, Renewal
from ...exceptions import EngineError
from .broker_client import BrokerClient

__all__ = ["PresenceLink"]


class PresenceLink(Engine):
    """A renewal may be repeated over another link: whoever hears it twice does nothing twice."""

    has_presence = True

    client: BrokerClient
    _tasks: trio.Nursery | None = None  # while it runs

    def renew(self, renewal: Renewal) -> Receipt:
        if self._tasks is None:
            raise EngineError("the engine does not run")
        receipt = Receipt()
        self._tasks.start_soon(partial(self._renew, renewal, receipt), name="broker renewal")
        return receipt

    async def _renew(self, renewal: Renewal, receipt: Receipt) -> None:
        try:
            holds = await self.client.call("renew", renewal)
        except EngineError as error:
            receipt.fail(error)
        else:
            if holds:
                receipt.settle(None)
            else:
                receipt.fail(LeaseLost(f"the lease of {renewal.node} is over"))
        finally:
            receipt.fail(EngineError("the engine has ended", maybe_published=True))  # if it is not settled

    async def presence(self, group: str) -> PresencePage:
        page: PresencePage = await self.client.call("presence", group)
        return page
