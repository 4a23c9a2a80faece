"""The link to a Redis or Valkey server: against real ones."""

import itertools
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from nexios_trio.engines.redis import connect as redis_connect
from nexios_trio.engines.redis.address import RedisAddress, parse_redis_url
from nexios_trio.engines.redis.connect import ServerMisconfigured, greet, open_stream
from nexios_trio.engines.redis.link import LinkLost, RedisLink, RedisRefusal
from nexios_trio.exceptions import EngineError
from tests.engines.redis.server import RedisProcess, free_port

CERTIFICATES = Path(__file__).parents[2] / "server" / "certificates"
SECONDS = 20.0
NAMES = (f"test-link-{number}".encode() for number in itertools.count())


class Linked:
    """A link, and what was published to it."""

    def __init__(self, link: RedisLink, messages: list[tuple[bytes, bytes]]) -> None:
        self.link = link
        self.messages = messages


@asynccontextmanager
async def linked(address: RedisAddress, *, greets: bool = True) -> AsyncIterator[Linked]:
    messages: list[tuple[bytes, bytes]] = []
    with trio.fail_after(SECONDS):
        link = RedisLink(await open_stream(address), lambda *message: messages.append(message))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            if greets:
                await greet(link, address)
            yield Linked(link, messages)
            nursery.cancel_scope.cancel()


def address_of(server: RedisProcess) -> RedisAddress:
    return parse_redis_url(server.url)


async def test_answers_come_in_the_order_of_the_commands(server):
    name, answers = next(NAMES), list[Any]()
    async with linked(address_of(server)) as one:
        for _ in range(1000):
            one.link.post("INCR", name, then=answers.append)
        assert await one.link.call("GET", name) == b"1000"
    assert answers == list(range(1, 1001))


async def test_who_stops_waiting_takes_no_answer_of_another(server):
    name, wrong = next(NAMES), list[Any]()

    async def ask(link: RedisLink, number: int) -> None:
        with trio.move_on_after(0 if number % 3 else SECONDS):
            answer = await link.call("ECHO", f"{number}")
            if answer != str(number).encode():
                wrong.append((number, answer))

    async with linked(address_of(server)) as one:
        async with trio.open_nursery() as nursery:
            for number in range(2000):
                nursery.start_soon(ask, one.link, number)
        await one.link.call("SET", name, 1)
        assert await one.link.call("GET", name) == b"1"
    assert wrong == []


async def test_what_is_published_has_its_place_among_the_answers(server):
    channel, confirmed = next(NAMES), trio.Event()
    async with linked(address_of(server)) as one, linked(address_of(server)) as other:
        one.link.subscribe(channel, lambda answer: confirmed.set())
        await confirmed.wait()
        assert await other.link.call("PUBLISH", channel, b"\x00\r\n") == 1
        await one.link.call("PING")
        assert one.messages == [(channel, b"\x00\r\n")]
        one.link.unsubscribe(channel)
        await one.link.call("PING")
        assert await other.link.call("PUBLISH", channel, b"unheard") == 0


async def test_a_refused_subscription_is_told_to_who_asked(server):
    user = next(NAMES)
    answers: list[Any] = []
    async with linked(address_of(server)) as admin:
        await admin.link.call("ACL", "SETUSER", user, "on", ">secret", "+@all", "~*", "resetchannels")
        address = parse_redis_url(f"redis://{user.decode()}:secret@127.0.0.1:{server.port}")
        async with linked(address) as one:
            one.link.post("ECHO", "before", then=answers.append)
            one.link.subscribe(b"channel", answers.append)
            assert await one.link.call("ECHO", "after") == b"after"
    assert answers[0] == b"before"
    assert isinstance(answers[1], RedisRefusal)
    assert answers[1].code == "NOPERM"


async def test_an_error_is_raised_to_who_asked_and_the_link_goes_on(server):
    name = next(NAMES)
    async with linked(address_of(server)) as one:
        await one.link.call("SET", name, "text")
        with pytest.raises(RedisRefusal, match="not an integer"):
            await one.link.call("INCR", name)
        assert await one.link.call("GET", name) == b"text"


async def test_a_function_that_fails_ends_no_link(server, caplog):
    def fail(answer: object) -> None:
        raise RuntimeError("of the test")

    async with linked(address_of(server)) as one:
        one.link.post("PING", then=fail)
        assert await one.link.call("PING") == "PONG" or await one.link.call("PING") == b"PONG"
    assert "an answer of the server's could not be handled" in caplog.text


async def test_all_who_wait_are_told_that_the_link_is_lost(server):
    answers: list[Any] = []
    async with linked(address_of(server)) as one, linked(address_of(server)) as other:
        number = await one.link.call("CLIENT", "ID")
        one.link.post("BLPOP", next(NAMES), 0, then=answers.append)
        one.link.post("PING", then=answers.append)
        await other.link.call("CLIENT", "KILL", "ID", number)
        await one.link.over.wait()
        assert [type(answer) for answer in answers] == [LinkLost, LinkLost]
        with pytest.raises(LinkLost, match="the link to the server is lost"):
            await one.link.call("PING")


async def test_large_values_and_many_of_them(server):
    names, value = [next(NAMES) for _ in range(40)], bytes(range(256)) * 4096
    async with linked(address_of(server)) as one:
        for name in names:
            one.link.post("SET", name, value)
        for name in names:
            assert await one.link.call("GET", name) == value
        await one.link.call("DEL", *names)
        assert one.link.queued == 0


async def test_by_a_unix_socket_and_to_another_database(server):
    name = next(NAMES)
    async with linked(address_of(server)) as one, linked(parse_redis_url(f"redis+unix://{server.path}?db=3")) as other:
        await other.link.call("SET", name, "there")
        assert await one.link.call("GET", name) is None
        await other.link.call("DEL", name)


async def test_by_tls(server):
    async with trio.open_nursery() as nursery:
        port = await nursery.start(_terminate_tls, server.path)
        trusted = CERTIFICATES / "certificate.pem"
        async with linked(parse_redis_url(f"rediss://localhost:{port}?ca={trusted}")) as one:
            assert await one.link.call("ECHO", "x" * 100_000) == b"x" * 100_000
        with pytest.raises(ServerMisconfigured, match=r"is not trusted: .* \?ca=/path/of/file\.pem"):
            await open_stream(parse_redis_url(f"rediss://localhost:{port}"))
        nursery.cancel_scope.cancel()


async def test_tls_to_a_server_without_it_is_told(server, monkeypatch):
    monkeypatch.setattr(redis_connect, "CONNECT_SECONDS", 0.1)
    with pytest.raises(
        EngineError, match=r"nothing comes back in 0\.1 s\. .*, or does it speak without TLS, as redis://\?"
    ):
        await open_stream(parse_redis_url(f"rediss://127.0.0.1:{server.port}"))


async def test_a_server_with_tls_alone_is_told(server):
    async with trio.open_nursery() as nursery:
        port = await nursery.start(_terminate_tls, server.path)
        address = parse_redis_url(f"redis://localhost:{port}")
        async with linked(address, greets=False) as one:
            with pytest.raises(EngineError, match=r"ends the connection .* TLS alone, it is rediss://"):
                await greet(one.link, address)
        nursery.cancel_scope.cancel()


async def _terminate_tls(path: str, task_status: trio.TaskStatus[int]) -> None:
    """Take TLS connections, and pass on what is in them."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATES / "certificate.pem", CERTIFICATES / "key.pem")
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    task_status.started(listener.socket.getsockname()[1])

    async def serve(plain: trio.SocketStream) -> None:
        secure = trio.SSLStream(plain, context, server_side=True)
        async with plain, await trio.open_unix_socket(path) as inside, trio.open_nursery() as nursery:
            nursery.start_soon(_pass_on, secure, inside, nursery.cancel_scope)
            nursery.start_soon(_pass_on, inside, secure, nursery.cancel_scope)

    await trio.serve_listeners(serve, [listener])


async def _pass_on(source: trio.abc.Stream, target: trio.abc.Stream, scope: trio.CancelScope) -> None:
    try:
        while data := await source.receive_some():
            await target.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()


async def test_who_is_not_let_in_is_told_what_to_do(server):
    user = next(NAMES).decode()
    async with linked(address_of(server)) as admin:
        await admin.link.call("ACL", "SETUSER", user, "on", ">right", "+@all", "~*", "&*")
        for login, words in (
            (f"{user}:wrong", f"redis://127.0.0.1:{server.port} does not accept the password for user '{user}'"),
            ("nobody:right", f"redis://127.0.0.1:{server.port} does not accept the password for user 'nobody'"),
        ):
            address = parse_redis_url(f"redis://{login}@127.0.0.1:{server.port}")
            async with linked(address, greets=False) as one:
                with pytest.raises(ServerMisconfigured) as caught:
                    await greet(one.link, address)
                assert str(caught.value) == words
        address = parse_redis_url(f"redis://127.0.0.1:{server.port}/99")
        async with linked(address, greets=False) as one:
            with pytest.raises(ServerMisconfigured, match="has no database 99"):
                await greet(one.link, address)
        try:
            await admin.link.call("CONFIG", "SET", "requirepass", "right")
            async with linked(address_of(server), greets=False) as one:
                with pytest.raises(ServerMisconfigured, match=r"wants a password: redis://:password@host"):
                    await greet(one.link, address_of(server))
            async with linked(parse_redis_url(f"redis://:right@127.0.0.1:{server.port}")) as one:
                await one.link.call("PING")
        finally:
            await admin.link.call("CONFIG", "SET", "requirepass", "")


async def test_a_closed_port_and_a_missing_socket_are_named():
    port = free_port()
    with pytest.raises(EngineError) as caught:
        await open_stream(parse_redis_url(f"redis://127.0.0.1:{port}"))
    assert str(caught.value) == (
        f"no server answers at redis://127.0.0.1:{port}: Connection refused. Is it started, and is the address right?"
    )
    with pytest.raises(EngineError, match=r"at redis\+unix:///no/such/socket: No such file or directory"):
        await open_stream(parse_redis_url("redis+unix:///no/such/socket"))


INFO = "redis_version:{}\r\nrun_id:abc\r\nrole:{}\r\nmaxmemory:{}\r\nmaxmemory_policy:{}\r\n"


@pytest.mark.parametrize(
    ("hello", "info", "words"),
    [
        ("-ERR unknown command 'HELLO'", "", "is older than Redis 6.2: ERR unknown command 'HELLO'"),
        ("+OK", INFO.format("6.0.16", "master", 0, ""), "is Redis 6.0.16; at least 6.2 is needed"),
    ],
    ids=["5.0", "6.0"],
)
async def test_a_server_that_is_too_old_is_refused(hello, info, words):
    with pytest.raises(ServerMisconfigured, match=words):
        await _greeted_by(hello, info)


async def test_a_server_that_is_full_is_asked_again_and_not_called_old():
    with pytest.raises(EngineError, match="lets nobody in: ERR max number of clients reached") as caught:
        await _greeted_by("-ERR max number of clients reached", "")
    assert not isinstance(caught.value, ServerMisconfigured)


async def test_what_a_server_says_of_itself():
    found = await _greeted_by("+OK", INFO.format("7.0.15", "slave", 1000, "allkeys-lru"))
    assert found == redis_connect.RedisServer("abc", "Redis 7.0.15", True, "allkeys-lru")
    assert found.may_forget
    found = await _greeted_by("+OK", INFO.format("7.2.4", "master", 0, "allkeys-lru") + "valkey_version:9.1.2\r\n")
    assert found == redis_connect.RedisServer("abc", "Valkey 9.1.2", False, "")
    assert not found.may_forget


async def _greeted_by(hello: str, info: str) -> redis_connect.RedisServer:
    """Greet somebody who says this."""
    ours, theirs = trio.testing.memory_stream_pair()
    link = RedisLink(ours, lambda *message: None)
    result: list[Any] = []

    async def answer() -> None:
        for said in (hello, f"${len(info)}\r\n{info}"):
            await theirs.receive_some()
            await theirs.send_all(f"{said}\r\n".encode())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        nursery.start_soon(answer)
        try:
            result.append(await greet(link, RedisAddress("host")))
        except EngineError as error:
            result.append(error)
        nursery.cancel_scope.cancel()
    if isinstance(result[0], EngineError):
        raise result[0]
    return result[0]


async def test_what_nobody_has_asked_for_ends_the_link():
    ours, theirs = trio.testing.memory_stream_pair()
    link = RedisLink(ours, lambda *message: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        await theirs.send_all(b"+PONG\r\n")
        await link.over.wait()
    assert "says what nobody has asked for" in str(link.lost)


async def test_what_cannot_be_read_ends_the_link():
    ours, theirs = trio.testing.memory_stream_pair()
    link = RedisLink(ours, lambda *message: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        await theirs.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(LinkLost, match="Protocol error"):
            await link.call("PING")
