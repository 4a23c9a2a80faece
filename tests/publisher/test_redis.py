"""Publishers by the server of an application's engine: a real one, an application, and a proxy that loses answers."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from nexios_trio import OLDEST, NexiosApp, open_channel
from nexios_trio.publisher import GroupMessage, Publisher, PublishError, TrioPublisher
from nexios_trio.testing import connect
from tests.engines.redis.server import BINARIES, SERVERS, RedisProcess, free_port, running_server
from tests.publisher.support import KINDS, Either
from tests.server.processes import COMMAND, PROJECT

both = pytest.mark.parametrize("kind", KINDS)
COUNT = 100


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Any:
    with running_server(request) as running:
        yield running


def make_app(url: str, name: str) -> NexiosApp:
    app = NexiosApp(engine=url, name=name)
    app.box.keep("room.*", max_messages=1000)

    @app.ws_route("/{group}")
    async def room(ws: Any, group: str) -> None:
        async with open_channel(ws) as channel, channel.member(group, since=OLDEST):
            async for _ in channel:
                pass

    return app


@asynccontextmanager
async def serving(url: str, name: str) -> AsyncIterator[NexiosApp]:
    app = make_app(url, name)
    async with app.running():
        yield app


async def payloads(app: NexiosApp, group: str) -> list[Any]:
    return [message.payload for message in (await app.box.engine.history(group)).messages]


@pytest.fixture
def either() -> Iterator[Any]:
    """Make a publisher of a kind, whose calls are awaited, and which is closed when the test is over."""
    with ExitStack() as stack:
        yield lambda kind, url, name, **options: Either(stack.enter_context(kind(url, name=name, **options)))


@both
@pytest.mark.parametrize("way", ["tcp", "unix"])
async def test_what_is_published_is_there_in_order_and_kept_as_the_application_says(server, either, kind, way) -> None:
    url = server.url if way == "tcp" else f"redis+unix://{server.path}"
    name = f"order-{kind.__name__}-{way}"
    async with serving(server.url, name) as app, connect(app, "/room.1") as client:
        room = either(kind, url, name)
        with room.publisher:
            first = await room.publish("room.1", {"text": "tea ☕"})
            again = [await room.publish("room.1", b"\0\xff", key="once") for _ in range(2)]
            many = await room.publish_batch(GroupMessage("room.1", number) for number in range(250))
            transient = await room.publish("room.1", "typing", transient=True)
            assert await room.publish_batch([]) == []
            assert [await client.receive_json(), await client.receive_bytes()] == [{"text": "tea ☕"}, b"\0\xff"]
            assert [await client.receive_json() for _ in range(251)] == [*range(250), "typing"]
            assert [receipt.position.offset for receipt in [first, *again, *many]] == [1, 2, *range(2, 253)]
            assert (first.is_watched, transient.position, transient.is_watched) == (True, None, True)
            assert await payloads(app, "room.1") == [{"text": "tea ☕"}, b"\0\xff", *range(250)]
            # What no policy keeps is kept where that is asked for, and is shown then.
            unseen = await room.publish("elsewhere", 1)
            await room.publish("elsewhere", 2, save_history=True)
            assert (unseen.is_watched, await payloads(app, "elsewhere")) == (False, [2])
            assert [each.payload for each in await app.box.show_history("elsewhere")] == [2]
            assert await app.box.show_history("room.1") == []


@both
async def test_what_goes_wrong_is_told(server, either, kind) -> None:
    async with serving(server.url, "wrong"):
        room = either(kind, server.url, "nobody", deadline=0.3)
        with pytest.raises(PublishError, match="no application named 'nobody' was there") as caught:
            await room.publish("room.1", 1, key="k")
        assert (caught.value.maybe_published, caught.value.key) == (False, "k")
        room = either(kind, server.url, "wrong")
        with pytest.raises(PublishError, match="presence is asked of the application, at its mount_api"):
            await room.presence("room.1")
        with pytest.raises(PublishError, match="at most 1048576 are carried") as caught:
            await room.publish("room.1", "x" * 1_048_576)
        assert not caught.value.maybe_published
        host = f"127.0.0.1:{server.port}"
        with server.talk() as ask:
            ask("ACL", "SETUSER", "outside", "on", ">right", "~nx:*", "&nx:*", "-@all", "+hello", "+auth", "+info")
        with pytest.raises(PublishError, match="does not accept the password for user 'outside'"):
            await either(kind, f"redis://outside:wrong@{host}", "wrong").publish("room.1", 1)
        with pytest.raises(PublishError, match="it takes no scripts"):
            await either(kind, f"redis://outside:right@{host}", "wrong", deadline=0.3).publish("room.1", 1)
    with pytest.raises(PublishError, match="cannot connect: .*Connection refused") as caught:
        await either(kind, f"redis://127.0.0.1:{free_port()}", "wrong", deadline=0.3).publish("room.1", 1)
    assert not caught.value.maybe_published


ENOUGH = (
    "+hello +auth +info +select +script|load +evalsha +get +set +del +exists +hmget +hset +pexpire +time +xlen +xadd"
    " +xrange +xdel +xtrim +zadd +publish"
)


@both
async def test_a_user_with_what_suffices_can_publish(server, either, kind) -> None:
    assert (
        ENOUGH.split() == (PROJECT / "docs/guides/redis.md").read_text().split("&nx:* -@all ")[-1].split("`")[0].split()
    )
    name = f"enough-{kind.__name__}"
    with server.talk() as ask:
        ask("ACL", "SETUSER", "backend", "on", ">right", "~nx:*", "&nx:*", "-@all", *ENOUGH.split())
    async with serving(server.url, name) as app:
        app.box.keep("few", max_messages=1, max_age=60.0)
        app.box.keep("small", max_bytes=10)
        app.box.engine._tell_kept()
        await app.box.engine.groups_with_history()  # behind that, on the same line
        room = either(kind, f"redis://backend:right@127.0.0.1:{server.port}/0", name)
        for group in ("few", "small", "other"):
            for number in range(12):
                await room.publish(group, number, save_history=True)
        assert (await payloads(app, "few"), len(await payloads(app, "other"))) == ([11], 12)
        await room.publish("few", "now", transient=True)


@both
def test_what_is_not_accepted_is_said_at_once(kind) -> None:
    for error, url, options, text in [
        (TypeError, "redis://host", {}, "name= says whose groups"),
        (ValueError, "redis://host", {"name": "two words"}, "the name of an application"),
        (ValueError, "redis://host", {"name": "app", "api_key": "k" * 20}, "api_key is that of mount_api"),
        (ValueError, "redis://host", {"name": "app", "unix_socket": "/x"}, "named as redis\\+unix"),
        (ValueError, "redis+sentinel://host/main", {"name": "app"}, "name the primary, or mount_api"),
        (ValueError, "redis://host?prefix=a b", {"name": "app"}, "prefix has at most 100 visible"),
        (ValueError, "http://host/api", {"name": "app", "api_key": "k" * 20}, "name is for the address of an engine"),
        (TypeError, "http://host/api", {}, "api_key is the str that mount_api was given"),
    ]:
        with pytest.raises(error, match=text):
            kind(url, **options)


async def test_without_the_extra_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "hiredis", None)
    with pytest.raises(ModuleNotFoundError, match=r'needs an extra: pip install "nexios-trio\[redis\]"'):
        Publisher("redis://host", name="app")


@pytest.mark.slow
async def test_a_server_that_was_started_again_is_another_one() -> None:
    """A connection to the old one is no use; nothing is done twice, though the server has forgotten the keys."""
    if not BINARIES:
        pytest.skip("there is no server")
    with RedisProcess(next(iter(BINARIES.values())), has_port=True) as server:
        async with serving(server.url, "again") as app, connect(app, "/room.1") as client:
            with TrioPublisher(server.url, name="again") as publisher:
                await publisher.publish("room.1", 1)
                await trio.to_thread.run_sync(server.stop)
                await trio.to_thread.run_sync(server.start)
                await publisher.publish("room.1", 2)
            assert await client.receive_json() == 1
            assert await payloads(app, "room.1") == [2]


class LossyProxy:
    """Passes on what is said, and closes a connection in place of every third answer to a script."""

    def __init__(self, path: str) -> None:
        self.port = 0
        self.lost = 0
        self._path = path
        self._scripts = 0

    async def serve(self, client: trio.SocketStream) -> None:
        async with client, await trio.open_unix_socket(self._path) as server, trio.open_nursery() as nursery:
            loses = False

            async def there() -> None:
                nonlocal loses
                while data := await client.receive_some():
                    if b"EVALSHA" in data:
                        self._scripts += 1
                        loses = self._scripts % 3 == 0
                    await server.send_all(data)
                nursery.cancel_scope.cancel()

            nursery.start_soon(there)
            try:
                while data := await server.receive_some():
                    if loses:
                        self.lost += 1
                        break
                    await client.send_all(data)
            except trio.BrokenResourceError:
                pass
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def lossy_proxy(path: str) -> AsyncIterator[LossyProxy]:
    proxy = LossyProxy(path)
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, proxy.serve, [listener])
        yield proxy
        nursery.cancel_scope.cancel(reason="the test is over")


SCRIPT = """
import os, signal, sys
from pathlib import Path
from nexios_trio.publisher import Publisher
url, path, die_after = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
done = len(path.read_text().splitlines()) if path.exists() else 0
with Publisher(url, name="shop", deadline=60, attempt_timeout=5) as publisher, path.open("a") as answers:
    for number in range(done, 100):
        receipt = publisher.publish("room.1", {"order": number}, key=f"order-{number}")
        if number - done == die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        answers.write(f"{receipt.position}\\n")
        answers.flush()
"""


async def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    env = {"PATH": "", **environment}
    return await trio.run_process(
        arguments, capture_stdout=True, capture_stderr=True, check=False, cwd=PROJECT, env=env
    )


@pytest.mark.slow
async def test_a_program_that_dies_and_begins_again_behind_a_proxy_that_loses_answers(server, tmp_path: Path) -> None:
    answers = tmp_path / "answers"
    async with serving(server.url, "shop") as app, lossy_proxy(server.path) as proxy, connect(app, "/room.1") as client:
        url = f"redis://127.0.0.1:{proxy.port}"
        for die_after in (20, 30, COUNT):
            done = await run(sys.executable, "-c", SCRIPT, url, str(answers), str(die_after))
            assert done.returncode == (0 if die_after == COUNT else -9), done.stderr.decode()
        last = await run(str(COMMAND), "publish", "room.1", "last", "--engine", url, "--name", "shop")
        assert (last.returncode, last.stdout.startswith(b"published to room.1 at ")) == (0, True), last.stderr.decode()
        by_variable = await run(str(COMMAND), "publish", "room.1", "7", "--json", "--name", "shop", NEXIOS_ENGINE=url)
        assert by_variable.returncode == 0, by_variable.stderr.decode()
        orders = [await client.receive_json() for _ in range(COUNT)]
        assert orders == [{"order": number} for number in range(COUNT)]
        assert [await client.receive_json(), await client.receive_json()] == ["last", 7]  # and nothing between
    positions = answers.read_text().split()
    assert [position.rpartition(":")[2] for position in positions] == [str(number + 1) for number in range(COUNT)]
    assert proxy.lost > COUNT // 4
