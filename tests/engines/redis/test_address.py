"""URLs of engines: what they name, and what is said about those that name nothing."""

import pytest

from nexios_trio.engines.redis.address import RedisAddress, parse_redis_url


@pytest.mark.parametrize(
    ("url", "address", "shown"),
    [
        ("redis://host", RedisAddress("host"), "redis://host:6379"),
        ("valkey://host", RedisAddress("host"), "redis://host:6379"),
        ("redis://host:7000/2", RedisAddress("host", 7000, database=2), "redis://host:7000"),
        ("redis://host?db=2", RedisAddress("host", database=2), "redis://host:6379"),
        ("redis://:a%40b@host", RedisAddress("host", password="a@b"), "redis://host:6379"),
        ("rediss://ann:secret@[::1]:1", RedisAddress("::1", 1, "", True, "ann", "secret"), "rediss://[::1]:1"),
        ("valkeys://host?ca=/a.pem", RedisAddress("host", is_tls=True, ca="/a.pem"), "rediss://host:6379"),
        ("redis+unix:///run/a.sock?db=1", RedisAddress(path="/run/a.sock", database=1), "redis+unix:///run/a.sock"),
        ("redis://host?prefix=staging", RedisAddress("host", prefix="staging"), "redis://host:6379"),
    ],
)
def test_what_a_url_names(url, address, shown):
    assert parse_redis_url(url) == address
    assert str(address) == shown
    assert "secret" not in repr(address)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("host:6379", r"is redis://user:password@host:6379/0, .*, not one of 'host'"),
        ("localhost", "not one of 'no scheme'"),
        ("http://host", "not one of 'http'"),
        ("redis://", "names a host"),
        ("redis:///0", "names a host"),
        ("redis://host:port", "the port in an engine's URL is a number from 1 to 65535"),
        ("redis://host:70000", "the port in an engine's URL is a number from 1 to 65535"),
        ("redis://host/name", "the database in an engine's URL is a number from 0, not 'name'"),
        ("redis://host?timeout=1", "may have the options prefix, db, ca, not 'timeout'"),
        ("redis://host?prefix=a%20b", "prefix has at most 100 visible ASCII characters, not 'a b'"),
        ("redis+unix://run/a.sock", "with three slashes"),
        ("redis+unix:///", "with three slashes"),
    ],
)
def test_what_is_said_about_one_that_names_nothing(url, words):
    with pytest.raises(ValueError, match=words):
        parse_redis_url(url)


def test_a_password_is_in_no_error():
    with pytest.raises(ValueError) as caught:
        parse_redis_url("redis://ann:secret@host/name")
    assert "secret" not in str(caught.value)
