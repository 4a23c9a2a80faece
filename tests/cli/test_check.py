"""`nexios-trio check`."""

import os
import resource
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

from nexios_trio.cli.main import main
from tests.server.support import CERTIFICATES

APP = """
from nexios_trio import ChannelBox, NexiosApp
from nexios_trio.engines.memory import MemoryEngine
app = NexiosApp(max_message_size=1000)
double = NexiosApp()
island = NexiosApp(box=ChannelBox(engine=MemoryEngine()))

@app.ws_route("/ws")
async def chat(ws):
    pass

for _ in range(2):
    double.ws_route("/ws/{room}", chat)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "checked.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture
def check(folder):
    """The exit status, and (level, subject, text) of each line."""

    def run(*arguments: str):
        sys.modules.pop("checked", None)
        result = CliRunner().invoke(main, ["check", *arguments])
        lines = [line.split(maxsplit=2) for line in result.stdout.splitlines()[:-1]]
        return result.exit_code, {(line[0], line[1], line[2]) for line in lines}

    return run


def found(findings, level: str, subject: str) -> list[str]:
    return [text for of, about, text in findings if (of, about) == (level, subject)]


def test_the_command_as_a_process(folder):
    command = [sys.executable, "-m", "nexios_trio", "check"]
    done = subprocess.run([*command, "checked:app", "--port", "0"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "ok     application  checked:app has 1 route\n" in done.stdout
    assert done.stdout.endswith("\nNothing is wrong.\n")
    (folder / "faulty.py").write_text("import there_is_no_such_module")
    done = subprocess.run([*command, "faulty", "-b", "127.0.0.1:x"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "wrong  application  importing faulty failed: ModuleNotFoundError" in done.stdout
    assert "wrong  addresses    cannot listen on 127.0.0.1:x: a bind is HOST:PORT" in done.stdout
    assert done.stdout.endswith("\n2 things are wrong.\n")
    assert done.stderr.startswith(f'Traceback (most recent call last):\n  File "{folder}/faulty.py", line 1')


@pytest.mark.parametrize(
    ("arguments", "subject", "text"),
    [
        (["checked:ap"], "application", "there is no 'ap' in 'checked'; did you mean app?"),
        (["checked:chat"], "application", "'checked:chat' is a handler, of the WebSocket route '/ws' of app; accepted"),
        (
            ["checked:double"],
            "application",
            "WebSocket /ws/{room} has 2 routes, of which only the first is ever reached",
        ),
        (
            ["checked:app", "-s", "max_fragment=3"],
            "settings",
            "--set max_fragment=3: there is no such setting; did you",
        ),
        (["checked:app", "-s", "max_message_size=3"], "settings", "--set max_message_size has no effect"),
        (["checked:app", "--host", "0.0.0.0", "-s", "debug=1"], "settings", "debug is on"),
        (["checked:app", "-b", "192.0.2.1:0"], "addresses", "cannot listen on 192.0.2.1:0: this machine has no such"),
        (["checked:app", "-b", "127.0.0.1:0", "--health-bind", "x:y"], "addresses", "cannot listen on x:y: a bind is"),
        (
            ["checked:app", "-b", "unix:nowhere/socket"],
            "addresses",
            "unix:nowhere/socket: there is no directory nowhere",
        ),
        (["checked:app", "-b", "unix:checked.py"], "addresses", "unix:checked.py: checked.py is there already, and no"),
        (["checked:app", "-b", "unix:socket"], "proxies", "whoever connects to unix:socket is not believed about its"),
        (
            ["checked:app", "-s", "trusted_proxies=0.0.0.0/0"],
            "proxies",
            "trusted_proxies has 0.0.0.0/0: anybody may say",
        ),
        (
            ["checked:app", "-b", "unix:socket", "-s", "max_connections_per_address=2"],
            "proxies",
            "max_connections_per_address counts nothing on a Unix socket without trusted_proxies",
        ),
        (
            ["checked:app", "-s", "max_connections=9999999999"],
            "files",
            "max_connections is 9999999999, the file limit of",
        ),
        (["checked:app", "--certfile", "a.pem"], "options", "certfile and keyfile go together"),
        (
            ["checked:app", "--certfile", "a.pem", "--keyfile", "b.pem"],
            "tls",
            "cannot use the certificate and key (a.pem",
        ),
        (["checked:app", "-c", "nowhere.toml"], "options", "--config nowhere.toml: No such file or directory"),
    ],
)
def test_what_is_wrong(check, arguments, subject, text):
    status, findings = check(*arguments)
    assert status == 1
    assert any(one.startswith(text) for one in found(findings, "wrong", subject)), findings


def test_a_port_in_use_may_be_the_server_itself(check):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        status, findings = check("checked:app", "--port", str(other.getsockname()[1]))
    assert status == 0
    [text] = found(findings, "note", "addresses")
    assert text.endswith("or it is this server, at work")


def test_a_deployment_behind_a_proxy_on_a_unix_socket(check):
    status, findings = check(
        *("checked:app", "-b", "unix:socket", "--umask", "007", "-s", "trusted_proxies=unix", "--workers", "2")
    )
    assert status == 0
    assert found(findings, "ok", "addresses") == ["unix:socket, for its group (--umask 007)"]
    assert found(findings, "ok", "proxies") == ["X-Forwarded-For, -Proto and -Host are believed of unix"]
    assert found(findings, "ok", "workers") == ["2 workers share their groups and histories"]
    assert not os.path.exists("socket")


def test_workers_of_a_box_that_was_given_an_engine_of_one_process(check):
    status, findings = check("checked:island", "--port", "0", "--workers", "3")
    assert status == 0
    [text] = found(findings, "note", "workers")
    assert text.startswith(
        "3 workers have groups of their own: the box was given an engine of one process, MemoryEngine"
    )
    status, findings = check("checked:island", "--port", "0")
    assert not found(findings, "note", "workers")


def test_the_files_of_tls(check, folder):
    for name in ("certificate.pem", "key.pem"):
        (folder / name).write_bytes((CERTIFICATES / name).read_bytes())
    (folder / "key.pem").chmod(0o644)
    files = ("--certfile", "certificate.pem", "--keyfile", "key.pem")
    status, findings = check("checked:app", "--port", "0", *files)
    assert status == 0
    assert found(findings, "ok", "tls") == ["certificate.pem and key.pem fit together"]
    assert found(findings, "note", "tls") == ["everybody on this machine can read the private key: chmod o-r key.pem"]


def test_a_low_file_limit_is_a_note(check, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 524_288))
    status, findings = check("checked:app", "--port", "0")
    assert status == 0
    [text] = found(findings, "note", "files")
    assert text.startswith("the file limit of 1024 has room for ")
    assert text.endswith(" connections: raise it (ulimit -n 524288, or LimitNOFILE= in systemd)")


def test_an_extra_that_is_asked_for_and_absent(check, monkeypatch):
    monkeypatch.setattr("nexios_trio.cli.checks.system._is_installed", lambda name: name != "watchfiles")
    status, findings = check("checked:app", "--port", "0", "--reload")
    assert status == 1
    assert found(findings, "wrong", "extras") == ["--reload needs watchfiles: pip install 'nexios-trio[reload]'"]
    [text] = found(findings, "ok", "extras")
    assert "not: reload (pip install 'nexios-trio[reload]')" in text


def test_an_application_of_others_and_no_epoll(check, folder, monkeypatch):
    monkeypatch.setattr("nexios_trio.cli.checks.system.IS_AVAILABLE", False)
    (folder / "foreign.py").write_text("from starlette.applications import Starlette\napp = Starlette()")
    status, findings = check("foreign", "--port", "0")
    assert status == 0
    assert found(findings, "ok", "application") == ["foreign is of type Starlette; nothing more is known of it"]
    assert found(findings, "note", "system")
