"""A histogram of durations."""

from nexios_trio.observability.durations import Durations


def test_each_is_counted_in_the_first_bound_that_it_does_not_exceed():
    durations = Durations((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 1.0, 7.0, -3.0):
        durations.add(seconds)
    assert durations.counts == [3, 2, 1]
    assert durations.seconds == 0.05 + 0.1 + 0.5 + 1.0 + 7.0
