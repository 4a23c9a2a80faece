"""A server whose engine cannot be, or does not come up: status 1, and one line that says what to do."""

import re
import socket

import pytest
import trio

from tests.engines.redis.server import BINARIES, MISSING, RedisProcess, free_port
from tests.server.processes import COMMAND, QUICK, failed, kill
from tests.server.support import Running

NAMED_IN_CODE = """
from nexios_trio import NexiosApp
app = NexiosApp(engine={url!r}, name="start")
"""
NAMED_OUTSIDE = """
from nexios_trio import NexiosApp
app = NexiosApp(name="start")
"""


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def lines_of(log):
    """What was logged that is more than information."""
    return [line for line in log.read_text().splitlines() if line and " INFO " not in line]


async def said(tmp_path, log, text, *arguments):
    """The one line that a server says that cannot start."""
    (tmp_path / "served.py").write_text(text)
    assert await failed(log, "served:app", *QUICK, *arguments, folder=tmp_path) == 1
    (line,) = lines_of(log)
    return line


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_wrong_url_in_code(tmp_path, log, workers):
    line = await said(tmp_path, log, NAMED_IN_CODE.format(url="http://host"), "--workers", workers)
    assert "importing served:app failed: an engine's URL is redis://user:password@host:6379/0" in line


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_wrong_url_in_the_environment(tmp_path, log, monkeypatch, workers):
    monkeypatch.setenv("NEXIOS_ENGINE", "redis://host?size=1")
    line = await said(tmp_path, log, NAMED_OUTSIDE, "--workers", workers)
    assert line == ("Error: NEXIOS_ENGINE: an engine's URL may have the options prefix, timeout, db, ca, not 'size'")


async def test_without_the_extra(tmp_path, log, monkeypatch):
    (tmp_path / "hiredis.py").write_text("raise ModuleNotFoundError(name='hiredis')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    line = await said(tmp_path, log, NAMED_IN_CODE.format(url="redis://host"))
    assert 'an engine at redis://host:6379 needs an extra: pip install "nexios-trio[redis]"' in line


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_closed_port(tmp_path, log, workers):
    url = f"redis://127.0.0.1:{free_port()}?timeout=0.5"
    line = await said(tmp_path, log, NAMED_IN_CODE.format(url=url), "--workers", workers)
    assert re.search(
        r"the application failed to start: no server answers at redis://127\.0\.0\.1:\d+: Connection refused\."
        r" Is it started, and is the address right\?$",
        line,
    )


@pytest.mark.slow
async def test_a_wrong_password_and_a_missing_right(tmp_path, log):
    if not BINARIES:
        pytest.skip(MISSING)
    with RedisProcess(next(iter(BINARIES.values())), has_port=True) as server, server.talk() as ask:
        ask("ACL", "SETUSER", "ann", "on", ">right", "~nx:*", "&nx:*", "+@all", "-zadd")
        wrong = NAMED_IN_CODE.format(url=f"redis://ann:wrong@127.0.0.1:{server.port}")
        line = await said(tmp_path, log, wrong)
        assert line.endswith(f"redis://127.0.0.1:{server.port} does not accept the password for user 'ann'")
        log.unlink()
        line = await said(tmp_path, log, wrong.replace(":wrong", ":right"), "--workers", "2")
        assert "refuses what groups need: " in line
        assert "What suffices is ~nx:start:* &nx:start:* +hello +auth" in line


async def test_it_is_not_ready_while_it_tries(tmp_path, log):
    (tmp_path / "served.py").write_text(NAMED_OUTSIDE)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}?timeout=600"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                _serve, log, tmp_path, *QUICK, "--engine", url, "-b", "127.0.0.1:0", "--health-bind", "127.0.0.1:0"
            )
            with trio.fail_after(30):
                while (found := _health(log)) is None:
                    await trio.sleep(0.02)
                assert (await found.get("/healthz")).endswith(b'{"alive":true}')
                assert b'{"ready":false,"not_ready":{' in await found.get("/readyz")
            nursery.cancel_scope.cancel()


async def _serve(log, folder, *arguments):
    with log.open("ab") as errors:
        process = await trio.lowlevel.open_process(
            [str(COMMAND), "run", "served:app", *arguments], cwd=folder, stderr=errors, start_new_session=True
        )
    try:
        await process.wait()
    finally:
        kill(process)
        with trio.CancelScope(shield=True):
            await process.wait()


def _health(log):
    text = log.read_text() if log.exists() else ""
    found = re.search(r"health is answered on http://127\.0\.0\.1:(\d+)", text)
    return None if found is None else Running([f":{found[1]}"], trio.Event(), trio.Event())
