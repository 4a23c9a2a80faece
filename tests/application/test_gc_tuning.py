"""The collector's tuning: process-wide, so it is put back."""

import gc
import weakref
from collections.abc import Callable, Generator

import pytest

from nexios_trio import NexiosApp
from nexios_trio.application.gc_tuning import (
    CONNECTIONS_PER_FULL_COLLECTION,
    CONNECTIONS_PER_YOUNG_COLLECTION,
    THRESHOLDS,
    _Tuning,
    count_connection,
    count_request,
    tuned_collector,
)
from tests.server.support import running

PYTHONS = (700, 10, 10)


@pytest.fixture(autouse=True)
def _pythons_defaults(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    for name in ("connections", "cyclic", "next_full_at", "leaves_no_cycles"):
        monkeypatch.setattr(_Tuning, name, 0)
    before, enabled = gc.get_threshold(), gc.isenabled()
    gc.enable()
    gc.set_threshold(*PYTHONS)
    yield
    gc.unfreeze()
    gc.set_threshold(*before)
    (gc.enable if enabled else gc.disable)()


def test_inside_the_block_and_after() -> None:
    with tuned_collector():
        assert gc.get_threshold() == THRESHOLDS
        assert gc.get_freeze_count() > 1000
    assert gc.get_threshold() == PYTHONS
    assert gc.get_freeze_count() == 0


def test_an_error_puts_it_back_too() -> None:
    with pytest.raises(LookupError), tuned_collector():
        raise LookupError
    assert gc.get_threshold() == PYTHONS


def test_the_last_of_several_puts_it_back() -> None:
    first, second = tuned_collector(), tuned_collector()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold() == THRESHOLDS
    second.__exit__(None, None, None)
    assert gc.get_threshold() == PYTHONS


def test_switched_off() -> None:
    with tuned_collector(enabled=False):
        assert gc.get_threshold() == PYTHONS
        assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("own", [(0, 10, 10), (100_000, 50, 100)])
def test_the_programs_own_choice_stands(own: tuple[int, int, int]) -> None:
    gc.set_threshold(*own)
    with tuned_collector():
        assert gc.get_threshold() == own
        assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == own


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    with tuned_collector():
        assert gc.get_threshold() == PYTHONS
    assert not gc.isenabled()


def test_what_is_kept_is_looked_through_in_small_portions() -> None:
    """A history that grows: everybody waits for each collection."""
    kept: list[list[int]] = []
    looked_at = [0]

    def count(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            looked_at.append(sum(len(gc.get_objects(generation)) for generation in range(info["generation"] + 1)))

    with tuned_collector():
        gc.collect(1)
        gc.callbacks.append(count)
        try:
            kept.extend([number] for number in range(50_000))
        finally:
            gc.callbacks.remove(count)
    assert 2_000 < max(looked_at) < 7_000


class Cycle:
    """Garbage that only the collector can find."""

    def __init__(self) -> None:
        self.itself = self


def test_cycles_are_found_as_connections_come() -> None:
    with tuned_collector():
        gone = weakref.ref(Cycle())
        for _ in range(CONNECTIONS_PER_YOUNG_COLLECTION):
            assert gone() is not None
            count_connection()
        assert gone() is None


def old_cycle() -> "weakref.ref[Cycle]":
    """Garbage that only a full collection finds."""
    cycle = Cycle()
    for _ in range(3):
        gc.collect(1)
    return weakref.ref(cycle)


@pytest.mark.parametrize("came", [count_connection, count_request])
def test_what_other_servers_leave_behind_is_found_in_time(came: Callable[[], None]) -> None:
    """A connection of hypercorn's is a cycle, and old by the time it is over: with TLS, 23 KiB."""
    with tuned_collector():
        gone = old_cycle()
        for _ in range(CONNECTIONS_PER_FULL_COLLECTION):
            assert gone() is not None
            came()
        assert gone() is None


def test_looking_for_it_takes_a_bounded_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("nexios_trio.application.gc_tuning.time.monotonic", lambda: now[0])

    def takes_a_second(phase: str, info: dict[str, int]) -> None:
        now[0] += phase == "stop" and info["generation"] == 2

    with tuned_collector():
        gc.callbacks.append(takes_a_second)
        try:
            for _ in range(10 * CONNECTIONS_PER_FULL_COLLECTION):
                count_request()
                now[0] += 0.01
        finally:
            gc.callbacks.remove(takes_a_second)
    assert 1100 < now[0] < 1105


def test_a_server_that_leaves_nothing_is_not_searched() -> None:
    with tuned_collector(leaves_no_cycles=True):
        gone = old_cycle()
        for _ in range(3 * CONNECTIONS_PER_FULL_COLLECTION):
            count_connection()
            count_request()
        assert gone() is not None


async def test_our_own_servers_connections_leave_nothing() -> None:
    async with running(NexiosApp()):
        assert gc.get_threshold() == THRESHOLDS
        assert _Tuning.leaves_no_cycles


def test_connections_do_not_matter_where_nothing_is_tuned() -> None:
    with tuned_collector(enabled=False):
        gone = weakref.ref(Cycle())
        for _ in range(2 * CONNECTIONS_PER_YOUNG_COLLECTION):
            count_connection()
        assert gone() is not None
