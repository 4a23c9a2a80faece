"""How an engine of a Redis or Valkey server is named, and what is said where it cannot start."""

import re
import shlex
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from nexios_trio import ChannelBox, NexiosApp
from nexios_trio.core.message import Message
from nexios_trio.engines.base import HistoryLimits
from nexios_trio.engines.default import make_engine
from nexios_trio.engines.memory import MemoryEngine
from nexios_trio.engines.presence import PresenceEdit, Renewal
from nexios_trio.engines.redis.connect import ServerMisconfigured
from nexios_trio.engines.redis.engine import RedisEngine
from nexios_trio.engines.redis.rights import COMMANDS
from nexios_trio.exceptions import EngineError
from tests.engines.redis.server import BINARIES, RedisProcess, free_port

GUIDE = Path(__file__).parents[3] / "docs/guides/redis.md"
KEPT = HistoryLimits(max_bytes=10_000)


def engine_at(url: str, name: str = "test-start") -> RedisEngine:
    engine = RedisEngine(url)
    engine.name, engine.deadline = name, 3.0
    return engine


async def say_nothing(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def start(engine: RedisEngine) -> None:
    async with engine.run():
        pass


# Naming it


def test_the_application_names_it_or_the_environment(monkeypatch):
    assert isinstance(NexiosApp().box.engine, MemoryEngine)
    app = NexiosApp(engine="redis://one")
    assert str(app.box.engine.address) == "redis://one:6379"
    monkeypatch.setenv("NEXIOS_ENGINE", "redis://two")
    assert str(NexiosApp().box.engine.address) == "redis://two:6379"
    assert str(NexiosApp(engine="redis://one").box.engine.address) == "redis://one:6379"
    engine = MemoryEngine()
    assert NexiosApp(box=ChannelBox(engine)).box.engine is engine
    monkeypatch.setenv("NEXIOS_ENGINE", "")
    assert isinstance(NexiosApp().box.engine, MemoryEngine)


def test_what_is_no_engine_is_named():
    with pytest.raises(TypeError, match="engine belongs to the box that is given"):
        NexiosApp(box=ChannelBox(), engine="redis://host")
    with pytest.raises(TypeError, match="engine is an Engine, or a URL such as redis://host, not int"):
        NexiosApp(engine=5)
    with pytest.raises(ValueError, match="an engine's URL is redis://"):
        NexiosApp(engine="localhost")


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("nexios_trio.engines.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "hiredis", None)
    with pytest.raises(
        ModuleNotFoundError, match=r'redis://host:6379 needs an extra: pip install "nexios-trio\[redis\]"'
    ):
        make_engine("redis://host")


# Starting it


async def test_a_closed_port_is_told_after_the_deadline():
    engine = engine_at(f"redis://127.0.0.1:{free_port()}")
    engine.deadline = 0.2
    with pytest.raises(EngineError, match="no server answers at redis://127.0.0.1:.*Connection refused"):
        await start(engine)
    assert "Connection refused" in engine.health()


@pytest.mark.parametrize(("scheme", "hint"), [("redis", ""), ("rediss", ", or does it speak without TLS, as redis://")])
async def test_one_that_says_nothing_is_told_after_the_deadline(scheme, hint):
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, say_nothing, 0, host="127.0.0.1"))
        address = f"{scheme}://127.0.0.1:{listener.socket.getsockname()[1]}"
        engine = engine_at(address)
        engine.deadline = 0.2
        with pytest.raises(EngineError) as caught:
            await start(engine)
        nursery.cancel_scope.cancel()
    assert str(caught.value) == (
        f"no server answers at {address}: nothing comes back in 0.2 s. Is it started, and is the address right{hint}?"
    )


async def test_a_server_that_comes_in_time_is_waited_for():
    if not BINARIES:
        pytest.skip("there is no server")
    engine = engine_at("redis://unused")
    with RedisProcess(next(iter(BINARIES.values()))) as server:
        server.stop()
        engine = engine_at(server.url)
        engine.deadline = 30.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(start, engine)
            await trio.testing.wait_all_tasks_blocked()
            await trio.to_thread.run_sync(server.start)


async def test_a_wrong_password_and_a_missing_right_are_told_at_once(server):
    host = f"127.0.0.1:{server.port}"
    with server.talk() as ask:
        ask("ACL", "SETUSER", "start", "on", ">right", "~nx:*", "&nx:*", "-@all", *COMMANDS.split())
        await start(engine_at(f"redis://start:right@{host}"))
        with pytest.raises(ServerMisconfigured, match=rf"redis://{host} does not accept the password for user 'start'"):
            await start(engine_at(f"redis://start:wrong@{host}"))
        for command in COMMANDS.split():
            if command in ("+hello", "+auth", "+select"):
                continue  # whoever is let in may greet; the others have their own tests
            ask("ACL", "SETUSER", "start", command.replace("+", "-"))
            name = command[1:].split("|")[0]
            with pytest.raises(ServerMisconfigured) as caught:
                await start(engine_at(f"redis://start:right@{host}"))
            said = str(caught.value).partition("What suffices")[0]
            # Redis 7.0 does not say which it is when a script is refused it: then the list of all of them has to do.
            assert f"'{name}" in said or "can't run this command" in said, (command, said)
            ask("ACL", "SETUSER", "start", command)
        for rule, words in (("resetchannels", "channel"), ("resetkeys", "key")):
            ask("ACL", "SETUSER", "start", rule)
            with pytest.raises(
                ServerMisconfigured, match=f"refuses what groups need: .*{words}.*What suffices is ~nx:"
            ):
                await start(engine_at(f"redis://start:right@{host}"))
            ask("ACL", "SETUSER", "start", "~nx:*", "&nx:*")


def command_of_the_guide() -> list[str]:
    """What the guide has its readers tell their server, as their shell takes it."""
    [text] = re.findall(r"^\$ (redis-cli ACL SETUSER (?:.*\\\n)*.*)$", GUIDE.read_text(), re.M)
    return shlex.split(text.replace("\\\n", ""))[1:]


async def test_a_user_with_what_the_guide_says_can_do_everything(server):
    command = command_of_the_guide()
    assert command == ["ACL", "SETUSER", "chat", "on", ">password", "~nx:*", "&nx:*", "-@all", *COMMANDS.split()]
    with server.talk() as ask:
        assert ask(*command) == b"OK"
    engine = engine_at(f"redis://chat:password@127.0.0.1:{server.port}", "test-rights")
    engine.attach(lambda group, message: None)
    async with engine.run():
        await engine.watch("group")
        await engine.publish("group", Message("text", 0.0), keep=KEPT, key="key")
        await engine.publish(
            "group", Message("text", 0.0), keep=HistoryLimits(max_bytes=10, max_messages=1, max_age=9.0)
        )
        assert len((await engine.history("group")).messages) == 1
        assert await engine.groups_with_history() == ["group"]
        await engine.flush_history()
        assert await engine.ask(b"who") == []
        await engine.renew(Renewal("node", 1, 9.0, (PresenceEdit("group", "client", True, "ann", "{}"),), True))
        assert [each.user for each in (await engine.presence("group")).clients] == ["ann"]
        await engine.renew(Renewal("node", 2, 9.0, (PresenceEdit("group", "client", False),)))
        assert (await engine.presence("group")).clients == ()
        engine.unwatch("group")


async def test_a_replica_is_refused(server):
    binary = next(iter(BINARIES.values()))
    with RedisProcess(binary, "--replicaof", "127.0.0.1", str(server.port)) as replica:
        with pytest.raises(ServerMisconfigured, match="is a replica, and takes nothing: name its primary"):
            await start(engine_at(replica.url))


async def test_a_server_that_may_forget_is_warned_of(server, caplog):
    with server.talk() as ask:
        try:
            ask("CONFIG", "SET", "maxmemory", "1gb")
            ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
            await start(engine_at(server.url))
        finally:
            ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
            ask("CONFIG", "SET", "maxmemory", "0")
    assert "its maxmemory-policy is allkeys-lru; noeviction would refuse new messages" in caplog.text
