"""What `run` says when it serves."""

import json
import os
import re
import subprocess

import pytest
import trio

from tests.server.processes import COMMAND, PROJECT, QUICK, command, kill
from tests.server.support import DEADLINE

APP = "tests.server.apps:app"


async def test_a_summary_on_standard_error_and_one_line_on_standard_output(tmp_path):
    options = ("--banner", "-s", "max_connections=500")
    async with command(tmp_path / "log", APP, *QUICK, *options) as server:
        assert server.line == f"Serving {APP} on http://127.0.0.1:{server.port} (Ctrl-C stops it)\n"
        first, *rest = server.log.splitlines()
    assert re.fullmatch(r"nexios-trio \d+\.\S+  Python 3\.\S+, trio \S+", first)
    assert [re.split(" +", line.strip(), maxsplit=1) for line in rest] == [
        ["routes", "5 WebSocket, 10 HTTP"],
        ["workers", "1"],
        ["engine", "memory, for the groups of one process"],
        [
            "settings",
            "drain_timeout 2 s (command line), drain_jitter 0 s (command line), max_connections 500 (command line)",
        ],
    ]


WAITS = """
import time
from pathlib import Path
from nexios_trio import NexiosApp

while not Path("go").exists():  # from another process, which has no condition to wait for
    time.sleep(0.01)
app = NexiosApp()
"""


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--workers", "2"], ["--reload"]], ids=" ".join)
async def test_its_first_line_comes_before_the_application_is_imported(tmp_path, options):
    (tmp_path / "waits.py").write_text(WAITS)
    process = await trio.lowlevel.open_process(
        [COMMAND, "run", "waits:app", "--port", "0", *QUICK, *options],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    shown = b""
    try:
        async with process.stderr:
            with trio.fail_after(DEADLINE):
                while b"\n" not in shown:
                    shown += await process.stderr.receive_some()
                assert re.fullmatch(rb"nexios-trio \S+  Python \S+, trio \S+\n", shown)
                (tmp_path / "go").touch()
                while b"\n  settings " not in shown:
                    shown += await process.stderr.receive_some()
    finally:
        kill(process)
        with trio.CancelScope(shield=True):
            await process.wait()
    assert shown.count(b"nexios-trio ") == 1


async def test_no_summary_of_what_is_no_application_of_ours(tmp_path):
    async with command(tmp_path / "log", "tests.server.apps:sleepy", "--banner") as server:
        assert [line.split()[0] for line in server.log.splitlines()] == ["nexios-trio", "workers"]


@pytest.mark.slow
async def test_one_of_several_workers_says_it(tmp_path):
    async with command(tmp_path / "log", APP, *QUICK, "--banner", "--workers", "2") as server:
        assert server.line.endswith(" with 2 workers (Ctrl-C stops it)\n")
        assert server.log.count("\n  routes ") == 1
        assert "\n  workers " not in server.log
        assert re.search(r"\n  engine +hub, for the groups of all workers\n", server.log)


async def test_nothing_but_one_object_where_the_log_is_json(tmp_path):
    async with command(tmp_path / "log", APP, *QUICK, "--banner", "--log-format", "json") as server:
        said = json.loads(server.line)
        assert said["message"] == f"Serving {APP} on http://127.0.0.1:{server.port}"
        assert said["addresses"] == [f"http://127.0.0.1:{server.port}"]
        assert server.log == ""


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}], ids=["colours", "NO_COLOR"])
async def test_a_terminal_has_colours_unless_they_are_unwanted(variables):
    ours, theirs = os.openpty()
    environ = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = await trio.lowlevel.open_process(
        [COMMAND, "run", APP, "--port", "0", "--set", "max_connections=9999999"],
        cwd=PROJECT,
        stdout=theirs,
        stderr=theirs,
        env=environ | variables,
    )
    os.close(theirs)
    terminal = trio.lowlevel.FdStream(ours)
    try:
        shown = b""
        with trio.fail_after(DEADLINE):
            while b"(Ctrl-C stops it)" not in shown:
                shown += await terminal.receive_some()
    finally:
        process.kill()
        await process.wait()
        await terminal.aclose()
    assert (b"\x1b[" in shown) is not bool(variables)
    assert b"file limit" in shown  # a line of the log, too
    assert b"http://127.0.0.1:" in shown
