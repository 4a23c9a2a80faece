"""What our server puts into a scope, to those who do not know it: nothing that copying or dumping stumbles over."""

import copy
import json
import pickle
from math import inf
from typing import Any

import pytest
import trio

from nexios_trio import Settings
from nexios_trio.transports.base import TRANSPORT_EXTENSION
from nexios_trio.transports.server_context import CleanupLimit, DirectOffer, find_offer


async def receive() -> Any: ...


async def send(event: Any) -> None: ...


@pytest.fixture
def offer() -> DirectOffer:
    transport: Any = object()
    return DirectOffer(transport, receive, send)


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        dict,
        lambda offer: offer.copy(),
        lambda offer: {**offer},
        lambda offer: offer | {},
        lambda offer: json.loads(json.dumps(offer)),
        *(lambda offer, version=version: pickle.loads(pickle.dumps(offer, version)) for version in range(6)),
    ],
)
def test_every_copy_is_an_empty_dict(offer: DirectOffer, copied: Any) -> None:
    assert type(copied(offer)) is dict
    assert copied(offer) == {}


def test_it_tells_whether_something_stands_between(offer: DirectOffer) -> None:
    async def other(*_: Any) -> Any: ...

    assert offer.is_untouched(receive, send)
    assert not offer.is_untouched(other, send)
    assert not offer.is_untouched(receive, other)


def test_it_is_taken_where_nothing_stands_between(offer: DirectOffer) -> None:
    async def other(*_: Any) -> Any: ...

    assert offer.take(receive, other) is None
    assert not offer.is_taken
    assert offer.take(receive, send) is offer.transport
    assert offer.is_taken


def test_its_server_applies_an_application_s_settings() -> None:
    applied: list[Settings] = []
    transport: Any = object()
    offer = DirectOffer(transport, receive, send, applied.append)
    assert not offer.is_ours
    offer.apply_settings(settings := Settings())
    assert applied == [settings]
    assert offer.is_ours
    offer.withdraw()
    offer.apply_settings(settings)
    assert applied == [settings]


def test_it_is_found_in_the_scope_or_behind_receive_and_send() -> None:
    class Adapter:
        async def receive(self) -> Any: ...

        async def send(self, event: Any) -> None: ...

    adapter: Any = Adapter()
    transport: Any = object()
    adapter.offer = DirectOffer(transport, adapter.receive, adapter.send)
    untouched = {"extensions": {TRANSPORT_EXTENSION: adapter.offer}}
    copied = copy.deepcopy(untouched)
    assert find_offer(untouched, receive, send) is adapter.offer
    assert find_offer(copied, adapter.receive, send) is adapter.offer
    assert find_offer(copied, receive, adapter.send) is adapter.offer
    for scope in (copied, {}, {"extensions": None}):
        assert find_offer(scope, receive, send) is None


def test_one_that_is_withdrawn_keeps_nothing(offer: DirectOffer) -> None:
    offer.withdraw()
    assert offer.transport is None
    assert offer.take(receive, send) is None


async def test_a_cleanup_ends_with_the_drain(autojump_clock: Any) -> None:
    limit = CleanupLimit()
    with trio.move_on_after(5, shield=True) as scope, limit.bounding(scope):
        limit.end_at(trio.current_time() + 2)
        await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(2)
    with trio.move_on_after(5, shield=True) as scope, limit.bounding(scope):  # one that comes later
        await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(2)
    assert limit.deadline < inf


async def test_a_cleanup_that_is_over_is_let_go_of() -> None:
    limit = CleanupLimit()
    with trio.CancelScope() as scope, limit.bounding(scope):
        await trio.lowlevel.checkpoint()
    limit.end_at(trio.current_time())
    assert scope.deadline == inf
