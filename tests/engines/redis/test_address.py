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
        ("redis://host?timeout=7.5", RedisAddress("host", timeout=7.5), "redis://host:6379"),
        (
            "redis+sentinel://ann:secret@one,[::1]:7/main/2?sentinel_user=bob&sentinel_password=secret",
            RedisAddress(
                user="ann",
                password="secret",
                database=2,
                seeds=(("one", 26379), ("::1", 7)),
                master="main",
                sentinel_user="bob",
                sentinel_password="secret",
            ),
            "redis+sentinel://one:26379,[::1]:7/main",
        ),
        (
            "rediss+cluster://:secret@one,two:7",
            RedisAddress(is_tls=True, password="secret", seeds=(("one", 6379), ("two", 7))),
            "rediss+cluster://one:6379,two:7",
        ),
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
        ("host:6379", r"is redis://user:password@host:6379/0, .*, and does not begin with 'host'"),
        ("localhost", "does not begin with 'no scheme'"),
        ("http://host", "does not begin with 'http'"),
        ("redis://", "names a host"),
        ("redis:///0", "names a host"),
        ("redis://host:port", "the port in an engine's URL is a number from 1 to 65535"),
        ("redis://host:70000", "the port in an engine's URL is a number from 1 to 65535"),
        ("redis://host/name", "the database in an engine's URL is a number from 0, not 'name'"),
        ("redis://host?size=1", "may have the options prefix, timeout, db, ca, not 'size'"),
        ("redis://host?sentinel_user=ann", "may have the options prefix, timeout, db, ca, not 'sentinel_user'"),
        ("redis://host?timeout=soon", "timeout in an engine's URL is seconds, up to 600, not 'soon'"),
        ("redis://host?timeout=0", "timeout in an engine's URL is seconds, up to 600, not '0'"),
        ("redis://host?timeout=nan", "timeout in an engine's URL is seconds, up to 600, not 'nan'"),
        ("redis://one,two", "several hosts are those of a redis.sentinel:// or a redis.cluster://"),
        ("redis+sentinel://one,two", "a Sentinel is asked for a name: redis.sentinel://host:26379,host:26379/master"),
        ("redis+sentinel://one,/name", "names a host"),
        ("redis+cluster://one/2", "a Cluster has one database, and no path"),
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
