"""Conformance: the Autobahn cases (through kosoku) against an echo handler, and a synchronous consumer, on each lane.

Over TLS it needs a relay, since kosoku has none.

These cases take a bare drop for an answer; that 1002, 1007 and 1009 are really sent is held by
tests/transports/test_direct.py and tests/e2e/test_takeover.py.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.e2e.support import Server
from tests.e2e.tls_relay import tls_relay
from tests.server.support import CERTIFICATES, CLIENT_TLS

pytestmark = pytest.mark.slow

TLS_FILES = ("--certfile", str(CERTIFICATES / "certificate.pem"), "--keyfile", str(CERTIFICATES / "key.pem"))
BIN = Path(sys.executable).parent
TIME = 240.0  # seconds; ten are enough on an idle machine
ALLOWED = {"7.1.5"}  # whether a message may be finished behind a close frame: opinions differ
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}

Command = Callable[[int], list[str]]


def runner(port: int, name: str = "app", *options: str) -> list[str]:
    return [str(BIN / "nexios-trio"), "run", "-b", f"127.0.0.1:{port}", *options, f"tests.e2e.echo_app:{name}"]


def hypercorn(port: int) -> list[str]:
    return [str(BIN / "hypercorn"), "--worker-class", "trio", "-b", f"127.0.0.1:{port}", "tests.e2e.echo_app:app"]


def synchronous(port: int) -> list[str]:
    return runner(port, "synchronous")


def over_tls(port: int) -> list[str]:
    return runner(port, "app", *TLS_FILES)


def synchronous_over_tls(port: int) -> list[str]:
    return runner(port, "synchronous", *TLS_FILES)


every_lane = pytest.mark.parametrize(
    ("command", "lane"),
    [
        (runner, "direct"),
        (hypercorn, "takeover"),
        (synchronous, "direct"),
        (over_tls, "direct"),
        (synchronous_over_tls, "direct"),
    ],
)


def run_cases(command: Command, lane: str, directory: Path, *selection: str) -> dict[str, str]:
    """How the server behaved, by case."""
    reports = directory / "reports"
    tls = CLIENT_TLS if "--certfile" in command(0) else None
    with Server(directory / "server.log", command, tls) as server:
        with nullcontext(server.port) if tls is None else tls_relay(server.port, tls) as port:
            subprocess.run(
                [BIN / "kosoku", f"127.0.0.1:{port}", "-o", reports, *selection],
                timeout=TIME,
                stdout=subprocess.DEVNULL,
                check=False,  # it also fails for what it could not try
            )
        server.check()
        assert json.loads(server.get("/")[2]) == [lane]
    assert "Traceback" not in server.log.read_text()
    [cases] = json.loads((reports / "index.json").read_text()).values()
    return {
        case: "FAILED" if "FAILED" in (found["behavior"], found["behaviorClose"]) else found["behavior"]
        for case, found in cases.items()
    }


def bad(cases: dict[str, str]) -> dict[str, str]:
    return {case: behavior for case, behavior in cases.items() if behavior not in GOOD}


@every_lane
def test_the_protocol(command: Command, lane: str, tmp_path: Path) -> None:
    cases = run_cases(command, lane, tmp_path, "-x", "9.*", "-x", "12.*", "-x", "13.*")
    assert len(cases) == 247
    assert bad(cases).keys() <= ALLOWED


def test_large_messages_and_many_fragments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 MiB in a message, in up to a quarter of a million fragments."""
    for name in ("MAX_MESSAGE_SIZE", "MAX_MESSAGE_SIZE_CEILING", "INBOX_BYTES", "OUTBOX_BYTES"):
        monkeypatch.setenv(f"NEXIOS_{name}", "16MiB")
    monkeypatch.setenv("NEXIOS_MAX_FRAGMENTS", "300000")
    cases = run_cases(runner, "direct", tmp_path, "-i", "9.*")
    assert len(cases) == 54
    assert bad(cases) == {}


# Text and binary, and offers with and without parameters. kosoku itself fails on the two smallest sizes of each group;
# offers that prescribe the server's window (13.3 to 13.6) are declined.
COMPRESSED = [f"{group}.{size}" for group in ("12.1", "12.2", "13.1", "13.2", "13.7") for size in (3, 8)]


@every_lane
def test_compression(command: Command, lane: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXIOS_COMPRESSION", "yes")
    monkeypatch.setenv("NEXIOS_MAX_MESSAGE_SIZE", "128KiB")
    cases = run_cases(command, lane, tmp_path, *(part for case in COMPRESSED for part in ("-i", case)))
    assert set(cases) == set(COMPRESSED)
    assert {case: behavior for case, behavior in cases.items() if behavior != "OK"} == {}
