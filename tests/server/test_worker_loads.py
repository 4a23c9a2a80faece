"""What workers tell each other about their connections."""

import pytest

from nexios_trio.server.worker_loads import WorkerLoad, WorkerLoads


@pytest.fixture
def shared():
    loads = WorkerLoads(3)
    yield loads
    loads.close()


def two(shared: WorkerLoads) -> tuple[WorkerLoad, WorkerLoad]:
    first, second = (WorkerLoad(shared.descriptor, shared.take_slot()) for _ in range(2))
    return first, second


def test_a_lead_is_over_those_that_accept(shared):
    first, second = two(shared)
    first.count(7)
    assert first.lead() == 0
    with second.accepting():
        assert first.lead() == 7
        second.count(5)
        assert first.lead() == 2
        assert second.lead() == 0
    assert first.lead() == 0


def test_two_listening_sockets_are_accepting_until_both_are_not(shared):
    first, second = two(shared)
    first.count(7)
    with second.accepting():
        with second.accepting():
            pass
        assert first.lead() == 7


def test_who_does_not_look_is_overlooked_until_it_does(shared):
    first, second = two(shared)
    first.count(7)
    with second.accepting():
        first.overlook(first.looks())
        assert first.lead() == 0
        second.look()
        assert first.lead() == 7
        looks = first.looks()
        second.look()
        first.overlook(looks)
        assert first.lead() == 7


def test_a_slot_that_is_given_back_is_empty(shared):
    slots = [shared.take_slot() for _ in range(3)]
    killed, other = (WorkerLoad(shared.descriptor, slot) for slot in slots[:2])
    accepting = killed.accepting()
    accepting.__enter__()
    other.count(7)
    assert other.lead() == 7
    shared.give_slot_back(slots[0])
    assert other.lead() == 0
    assert shared.take_slot() == slots[0]
