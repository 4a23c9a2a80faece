"""Values as people read them."""

from datetime import timedelta
from math import inf

import pytest

from nexios_trio.cli.human import human
from nexios_trio.core.overflow import drop_oldest


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (65_536, "bytes", "64 KiB"),
        (1_048_576, "bytes", "1 MiB"),
        (65_000, "bytes", "65000 B"),
        (0, "bytes", "0 B"),
        (1000, "bytes per second", "1000 B/s"),
        (0.5, "seconds", "0.5 s"),
        (0.0, "seconds", "0 s"),
        (60.0, "seconds", "1 min"),
        (90.0, "seconds", "90 s"),
        (7200, "seconds", "2 h"),
        (inf, "seconds", "never"),
        (4096, "frames", "4096"),
        (None, "connections", "None"),
        (True, "", "True"),
        ((), "", "none"),
        (("https://a.example", "*"), "", "https://a.example, *"),
        (drop_oldest, "", "drop_oldest"),
        (timedelta.total_seconds, "", "timedelta.total_seconds"),
    ],
)
def test_a_value_is_in_the_largest_unit_that_it_is_a_whole_number_of(value, unit, text):
    assert human(value, unit) == text
