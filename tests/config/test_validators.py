"""What validators let through, and what text means to them."""

from ipaddress import ip_network
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.config.validators import Accepted, Count, Seconds, Size, Switch, origins, parse, proxies, words

VALIDATORS = [
    Seconds(),
    Seconds(endless=True),
    Seconds(zero=True),
    Seconds(endless=True, zero=True),
    Count(),
    Count(optional=True),
    Size(),
    Size(256),
    Switch(),
]
VALUES = [None, True, False, -1, 0, 1, 255, 256, 0.0, 0.5, -0.5, inf, -inf, nan, "1", "", b"1", [1]]


def accepted_values(validator):
    return [value for value in VALUES if validator.allows(value)]


@pytest.mark.parametrize(
    ("validator", "expected"),
    [
        (Seconds(), [1, 255, 256, 0.5]),
        (Seconds(endless=True), [1, 255, 256, 0.5, inf]),
        (Seconds(zero=True), [0, 1, 255, 256, 0.0, 0.5]),
        (Count(), [1, 255, 256]),
        (Count(optional=True), [None, 1, 255, 256]),
        (Size(256), [256]),
        (Switch(), [True, False]),
    ],
)
def test_accepted(validator, expected):
    assert list(map(repr, accepted_values(validator))) == list(map(repr, expected))


@pytest.mark.parametrize("validator", VALIDATORS, ids=repr)
def test_every_kind_says_what_it_accepts(validator):
    assert isinstance(validator, Accepted)
    assert validator.accepted


@pytest.mark.parametrize(
    ("validator", "text", "value"),
    [
        (Seconds(), "2.5", 2.5),
        (Seconds(endless=True), " inf ", inf),
        (Count(), "12", 12),
        (Count(optional=True), "None", None),
        (Count(optional=True), "", None),
        (Size(), "65536", 65_536),
        (Size(), "64KiB", 65_536),
        (Size(), "1 MiB", 1_048_576),
        (Size(), "2kb", 2000),
        (Switch(), "On", True),
        (Switch(), "0", False),
        (None, " text ", "text"),
    ],
)
def test_text(validator, text, value):
    assert parse(validator, text) == value


@pytest.mark.parametrize(
    ("validator", "text"),
    [(Seconds(), "10s"), (Count(), "1.5"), (Count(), ""), (Size(), "1 lot"), (Size(), "-1"), (Switch(), "2")],
)
def test_text_that_means_nothing(validator, text):
    with pytest.raises(ValueError):
        parse(validator, text)


@given(st.sampled_from(VALIDATORS), st.text(max_size=8))
def test_reading_gives_a_value_or_a_value_error(validator, text):
    try:
        value = parse(validator, text)
    except ValueError:
        return
    assert value is None or isinstance(value, int | float)


def test_words():
    assert words(" a, b ,,c ") == ("a", "b", "c")
    assert words("") == words([]) == ()
    assert words(["a b", "c"]) == ("a b", "c")


def test_origins():
    assert origins("https://Example.org, http://localhost:3000") == ("https://example.org", "http://localhost:3000")
    assert origins(["*"]) == ("*",)
    assert origins("https://[::1]:8443") == ("https://[::1]:8443",)


@pytest.mark.parametrize("origin", ["null", "example.org", "https://a/", "https://a/b", "https://", "https://a\n", 7])
def test_refused_origins(origin):
    with pytest.raises(ValueError, match="scheme://host"):
        origins([origin])


def test_proxies():
    networks = (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert proxies("10.0.0.0/8, ::1") == networks
    assert proxies(networks) == networks


@pytest.mark.parametrize("proxy", ["proxy.local", "10.0.0.1/8", "*", 7])
def test_refused_proxies(proxy):
    with pytest.raises(ValueError, match=r"trusted_proxies takes addresses and networks such as 10\.0\.0\.0/8"):
        proxies([proxy])
