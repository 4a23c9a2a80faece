"""Which signals count: somebody presses Ctrl-C again, and a supervisor says the same thing twice."""

import signal

import pytest

from nexios_trio.server.stop_signals import SignalCount

TERM, KEY = signal.SIGTERM, signal.SIGINT


@pytest.mark.parametrize(
    ("signals", "counts"),
    [
        ([(TERM, 0), (TERM, 0.001), (TERM, 0.9)], [1, None, None]),
        ([(TERM, 0), (TERM, 1), (TERM, 2.5)], [1, 2, 3]),
        ([(KEY, 0), (KEY, 0.001), (KEY, 0.3), (KEY, 0.6)], [1, None, 2, 3]),
        ([(KEY, 0), (TERM, 0.001), (KEY, 0.5), (TERM, 0.501), (KEY, 1)], [1, None, 2, None, 3]),
    ],
)
def test_one_that_follows_at_once_is_the_last_one_again(signals, counts):
    counted = SignalCount()
    assert [counted.add(number, 100.0 + when) for number, when in signals] == counts
