"""`nexios-trio check` of an application whose groups a Redis or Valkey server carries."""

import sys

import pytest
from click.testing import CliRunner

from nexios_trio.cli.main import main
from tests.engines.redis.server import SERVERS, RedisProcess, free_port, running_server

APP = """
from nexios_trio import NexiosApp
app = NexiosApp(name="checked")
unnamed = NexiosApp()

@app.ws_route("/ws")
async def chat(ws):
    pass
"""


@pytest.fixture(params=SERVERS)
def server(request):
    with running_server(request) as process:
        yield process


@pytest.fixture
def check(tmp_path, monkeypatch):
    """The exit status, and the text of each line about the engine, by its level."""
    (tmp_path / "checked.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(url: str, application: str = "checked:app", *options: str):
        sys.modules.pop("checked", None)
        monkeypatch.setenv("NEXIOS_ENGINE", url)
        result = CliRunner().invoke(main, ["check", application, "--port", "0", *options])
        lines = [line.split(maxsplit=2) for line in result.stdout.splitlines()[:-1]]
        assert "application" in [line[1] for line in lines]  # the others are checked whatever the engine says
        return result.exit_code, [(line[0], line[2]) for line in lines if line[1] == "engine"]

    return run


def test_one_that_answers(check, server: RedisProcess):
    assert check(server.url) == (0, [("ok", f"redis, {server.url}, as checked: it answers")])
    _, [(level, text)] = check(server.url, "checked:unnamed")
    assert (level, text) == ("ok", f"redis, {server.url}, as checked:unnamed: it answers")


def test_one_that_may_forget(check, server: RedisProcess):
    with server.talk() as ask:
        ask("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
    status, [(_, _), (level, text)] = check(server.url)
    assert (status, level) == (0, "note")
    assert "its maxmemory-policy is allkeys-lru" in text


def test_a_missing_right(check, server: RedisProcess):
    with server.talk() as ask:
        ask("ACL", "SETUSER", "ann", "on", ">right", "~nx:*", "&nx:*", "+@all", "-zadd")
    status, [(level, text)] = check(f"redis://ann:right@127.0.0.1:{server.port}")
    assert (status, level) == (1, "wrong")
    assert "refuses what groups need" in text


def test_a_closed_port(check):
    status, [(level, text)] = check(f"redis://127.0.0.1:{free_port()}?timeout=0.2")
    assert (status, level) == (1, "wrong")
    assert "Connection refused. Is it started, and is the address right?" in text


@pytest.mark.parametrize("options", [(), ("--engine", "http://host")], ids=["environment", "option"])
def test_what_is_no_url(check, options):
    status, [(level, text)] = check("http://host", "checked:app", *options)
    assert (status, level) == (1, "wrong")
    assert text.startswith(f"{'--engine' if options else 'NEXIOS_ENGINE'}: an engine's URL is redis://")


def test_none_is_not_mentioned(check):
    assert check("") == (0, [])
