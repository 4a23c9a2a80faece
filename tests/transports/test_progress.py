"""Whether a peer reads: what the kernel says, and how long it has."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.transports.progress import ReadingDeadline, acknowledged_bytes, unacknowledged_bytes
from tests.transports.support import connected


def filled(sock: socket.socket) -> int:
    """Write until the kernel takes no more."""
    sock.setblocking(False)
    size = 0
    try:
        while True:
            size += sock.send(bytes(10_000))
    except BlockingIOError:
        return size


def test_the_kernel_tells_what_a_tcp_peer_has_not_taken():
    ours, theirs = connected(small=True)
    with ours, theirs:
        assert unacknowledged_bytes(ours) == 0
        size = filled(ours)
        left = unacknowledged_bytes(ours)
        assert 0 < left <= size
        assert acknowledged_bytes(ours) == size - left
        while left and unacknowledged_bytes(ours):
            theirs.recv(4096)
        assert acknowledged_bytes(ours) == size


def test_of_a_unix_socket_it_tells_what_was_not_read():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        size = filled(ours)
        before = unacknowledged_bytes(ours), acknowledged_bytes(ours)
        theirs.recv(50_000)
        assert unacknowledged_bytes(ours) < before[0]
        assert acknowledged_bytes(ours) != before[1]
        read = 50_000
        while read < size:
            read += len(theirs.recv(65536))
        assert unacknowledged_bytes(ours) == 0


def test_of_a_closed_socket_it_tells_nothing():
    ours, theirs = connected(small=False)
    ours.close()
    theirs.close()
    assert unacknowledged_bytes(ours) == 0


def test_who_takes_nothing_has_its_patience_and_no_more():
    deadline = ReadingDeadline(10.0, 1000, 500, now=100.0)
    for now in (102.5, 105.0, 109.9):
        assert deadline.is_met(500, now)
    assert not deadline.is_met(500, 110.0)
    assert deadline.explain(110.0) == "the peer does not read"


def test_who_stops_has_its_patience_from_then_on():
    deadline = ReadingDeadline(10.0, 1000, 0, now=0.0)
    assert deadline.is_met(100_000, 9.0)
    assert deadline.is_met(100_000, 18.9)
    assert not deadline.is_met(100_000, 19.0)
    assert deadline.explain(19.0) == "the peer does not read"


def test_a_trickle_buys_what_it_is_worth():
    deadline = ReadingDeadline(10.0, 1000, 0, now=0.0)
    now, looks = 0.0, 0
    while deadline.is_met(int(now * 500), now):
        now = deadline.look_at
        looks += 1
    assert now == pytest.approx(20.0, abs=0.1)  # half the rate: twice the patience
    assert looks < 40
    assert deadline.explain(now) == "the peer reads less than 1000 bytes a second"


def test_it_is_looked_at_some_times_before_it_ends_and_never_later():
    deadline = ReadingDeadline(10.0, 1000, 0, now=0.0)
    assert deadline.look_at == 2.5
    assert deadline.is_met(10, 9.0)
    assert deadline.look_at == deadline.when == pytest.approx(10.01)


def test_a_late_look_does_not_count_against_who_has_read():
    deadline = ReadingDeadline(10.0, 1000, 0, now=0.0)
    assert deadline.is_met(5000, 60.0)
    assert deadline.when == 65.0


@given(st.lists(st.tuples(st.floats(0.1, 9.0), st.integers(1, 20)), min_size=1, max_size=50))
def test_who_reads_faster_than_the_rate_is_never_late(steps):
    """However unevenly, if no pause is as long as the patience."""
    deadline = ReadingDeadline(10.0, 1000, 0, now=0.0)
    now, taken = 0.0, 0
    for pause, factor in steps:
        now += pause
        taken += int(pause * 1000 * factor) + 1
        assert deadline.is_met(taken, now)
