"""Conformance: the Autobahn cases (through kosoku) against an echo handler on the lane.

These cases take a bare drop for an answer; that 1002, 1007 and 1009 are really sent is held by
tests/transports/test_direct.py and tests/e2e/test_close_codes.py.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.support import Server

KOSOKU = Path(sys.executable).with_name("kosoku")
TIME = 240.0  # seconds; ten are enough on an idle machine
ALLOWED = {"7.1.5"}  # whether what follows a close frame in the same bytes may still be answered: opinions differ
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}


def runner(port: int) -> list[str]:
    command = str(Path(sys.executable).with_name("nexios-trio"))
    return [command, "run", "-b", f"127.0.0.1:{port}", "tests.e2e.echo_app:app"]


def hypercorn(port: int) -> list[str]:
    command = str(Path(sys.executable).with_name("hypercorn"))
    return [command, "--worker-class", "trio", "-b", f"127.0.0.1:{port}", "tests.e2e.echo_app:app"]


LANES = {"runner": runner, "takeover": hypercorn}


@pytest.fixture(params=LANES)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "server.log", LANES[request.param]) as running:
        yield running
    assert "Traceback" not in running.log.read_text()


def run_cases(server: Server, reports: Path, *selection: str) -> dict[str, str]:
    """How the server behaved, by case."""
    subprocess.run(
        [KOSOKU, f"127.0.0.1:{server.port}", "-o", reports, *selection],
        timeout=TIME,
        stdout=subprocess.DEVNULL,
        check=False,  # it also fails for what it could not try
    )
    server.check()
    [cases] = json.loads((reports / "index.json").read_text()).values()
    return {
        case: "FAILED" if "FAILED" in (found["behavior"], found["behaviorClose"]) else found["behavior"]
        for case, found in cases.items()
    }


def test_the_protocol(server: Server, tmp_path: Path) -> None:
    cases = run_cases(server, tmp_path / "reports", "-x", "9.*", "-x", "12.*", "-x", "13.*")
    assert len(cases) >= 247
    assert {case: behavior for case, behavior in cases.items() if behavior not in GOOD and case not in ALLOWED} == {}


def test_large_messages_and_many_fragments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 MiB in a message, in up to a quarter of a million fragments."""
    monkeypatch.setenv("NEXIOS_MAX_MESSAGE_SIZE_CEILING", "16MiB")
    monkeypatch.setenv("NEXIOS_MAX_MESSAGE_SIZE", "16MiB")
    monkeypatch.setenv("NEXIOS_INBOX_BYTES", "16MiB")
    monkeypatch.setenv("NEXIOS_OUTBOX_BYTES", "16MiB")
    monkeypatch.setenv("NEXIOS_MAX_FRAGMENTS", "300000")
    with Server(tmp_path / "server.log", runner) as server:
        cases = run_cases(server, tmp_path / "reports", "-i", "9.*")
    assert len(cases) == 54
    assert {case: behavior for case, behavior in cases.items() if behavior != "OK"} == {}


# A client that leaves the window to the server: text and binary, offers with and without parameters. kosoku itself
# fails on the two smallest sizes of each group; offers that prescribe the server's window are declined.
COMPRESSED = [f"{group}.{size}" for group in ("12.1", "12.2", "12.4", "13.1", "13.2", "13.7") for size in (3, 7, 11)]


def test_compression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXIOS_COMPRESSION", "yes")
    monkeypatch.setenv("NEXIOS_MAX_MESSAGE_SIZE", "128KiB")
    with Server(tmp_path / "server.log", runner) as server:
        cases = run_cases(server, tmp_path / "reports", *(part for case in COMPRESSED for part in ("-i", case)))
    assert set(cases) == set(COMPRESSED)
    assert {case: behavior for case, behavior in cases.items() if behavior != "OK"} == {}
