"""The official clients of the realtime protocol, in JavaScript and Python, against a server of ours."""

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.support import PROJECT, Server

pytestmark = pytest.mark.slow

SDK = PROJECT / "tests/e2e/sdk"
SECONDS = 90.0  # for one case, which ends by itself after 60

JAVASCRIPT = (
    "connect",
    "a token that is none",
    "a token that has expired",
    "calls and messages",
    "twenty commands in one frame",
    "who may do what",
    "presence",
    "history",
    "unsubscribed by the server",
    "subscriptions of the server",
    "twenty cuts",
    "close codes",
    "pings",
)
PYTHON = (
    "connect",
    "a token that is none",
    "a token that has expired",
    "calls and messages",
    "groups",
    "twenty cuts",
    "pings",
)
encodings = pytest.mark.parametrize("encoding", ["json", "protobuf"])


def command(port: int) -> list[str]:
    program = str(Path(sys.executable).with_name("nexios-trio"))
    return [program, "run", "tests.e2e.realtime_app:app", "--port", str(port)]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Server(tmp_path_factory.mktemp("sdks") / "server.log", command) as server:
        yield f"ws://127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def node() -> str:
    """Node, with the client installed from the lock: by the first of several processes that ask."""
    found, npm = shutil.which("node"), shutil.which("npm")
    assert found, "node is missing: make system"
    assert npm, "npm is missing: make system"
    installed = SDK / "node_modules/.package-lock.json"
    lock = SDK / "package-lock.json"
    with (SDK / "package.json").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            subprocess.run(command, cwd=SDK, check=True, capture_output=True, timeout=300)
            installed.touch()
    return found


def run(*command: str) -> str:
    """Let a client go through a case; what it says."""
    done = subprocess.run(command, cwd=SDK, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@encodings
@pytest.mark.parametrize("case", JAVASCRIPT)
def test_javascript(node: str, url: str, encoding: str, case: str) -> None:
    run(node, "checks.mjs", url, encoding, case)


@encodings
@pytest.mark.parametrize(
    ("path", "told"),
    [("/realtime", 3008), ("/drops", 2500)],
    ids=["thrown out", "a policy that drops"],
)
def test_a_slow_reader_in_javascript_comes_back_and_is_complete(
    node: str, url: str, encoding: str, path: str, told: int
) -> None:
    """It misses 16 MB: once the connection ends, once only the subscription."""
    codes = json.loads(run(node, "checks.mjs", url, encoding, "a slow reader", path))
    assert told in codes
    assert {3008, 2500} & set(codes) == {told}


@encodings
def test_after_a_crash_the_application_is_told_that_messages_are_lost(node: str, tmp_path: Path, encoding: str) -> None:
    """The server kept them in its memory."""
    with Server(tmp_path / "server.log", command) as server:
        checks = [node, "checks.mjs", f"ws://127.0.0.1:{server.port}", encoding, "a server that is killed"]
        with subprocess.Popen(checks, cwd=SDK, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                server.kill()
                server.start()
                assert process.wait(SECONDS) == 0
            finally:
                process.kill()


@encodings
@pytest.mark.parametrize("case", PYTHON)
def test_python(url: str, encoding: str, case: str) -> None:
    run(sys.executable, "checks.py", url, encoding, case)


def test_the_lock_names_no_registry() -> None:
    lock = json.loads((SDK / "package-lock.json").read_text())
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
    assert lock["packages"]["node_modules/centrifuge"]["version"] == "5.8.0"
