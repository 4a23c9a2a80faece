"""`python -m tests.attack`: start each server, run the attacks with innocents beside them, and count.

Exit status 0 if the server survived every attack, no innocent was lost, every attacker got what it should, nothing was
left over, and the log was neither forged nor told a secret.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from tests.attack.app import FAST
from tests.attack.corpus import ATTACKS, Attack
from tests.attack.target import HYPERCORN, RUNNER, SERVERS, TAKEOVER, TLS, InnocentLost, Target, innocents
from tests.server.support import CERTIFICATES, DEADLINE

PROJECT = Path(__file__).resolve().parents[2]
APP = "tests.attack.app:app"
PER_ATTACK = 40.0  # seconds
SETTLED = 10.0  # seconds for everything of an attack to be gone
FORBIDDEN_IN_LOG = (b"\x1b", b"\nFORGED", b"TOPSECRET", b"correct horse")


def command(server: str, port: int, log: str | None = None, tls_port: int | None = None) -> list[str]:
    bind = ["--bind", f"127.0.0.1:{port}"]
    if tls_port is not None:
        bind = ["--insecure-bind", f"127.0.0.1:{port}", "--bind", f"127.0.0.1:{tls_port}"]
        bind += ["--certfile", str(CERTIFICATES / "certificate.pem"), "--keyfile", str(CERTIFICATES / "key.pem")]
    if log is not None:
        bind += ["--access-log" if server in (RUNNER, TLS) else "--access-logfile", log]
    if server in (RUNNER, TLS):
        return [sys.executable, "-m", "nexios_trio.cli", "run", APP, *bind]
    module = "python:nexios_trio.serving.hypercorn_config"
    return [sys.executable, "-m", "hypercorn", "--config", module, *bind, APP]


@attrs.define
class Process:
    """A server of its own."""

    server: str
    port: int
    log: Path
    popen: subprocess.Popen[bytes]
    tls_port: int | None = None

    @property
    def is_alive(self) -> bool:
        return self.popen.poll() is None


@contextmanager
def serving(
    server: str,
    directory: Path,
    values: Mapping[str, Any] = FAST,
    *,
    has_access_log: bool = True,
    has_tls: bool = False,
) -> Generator[Process]:
    """Start it with these settings, wait until it answers, and stop it as an operator would.

    With `has_tls`, which is for the runner, also on another port.
    """
    port = _unused_port()
    tls_port = _unused_port() if has_tls else None
    log = directory / f"{server}.log"
    access_log = str(directory / f"{server}.access.log") if has_access_log else None
    settings = {f"NEXIOS_{name.upper()}": str(value) for name, value in values.items()}
    settings["NEXIOS_TAKEOVER"] = str(server == TAKEOVER)
    with log.open("ab") as output:
        popen = subprocess.Popen(
            command(server, port, access_log, tls_port),
            cwd=PROJECT,
            env={**os.environ, **settings},
            stdout=output,
            stderr=output,
        )
        try:
            trio.run(_answering, port, popen)
            yield Process(server, port, log, popen, tls_port)
            if popen.poll() is None:
                popen.send_signal(signal.SIGTERM)
            popen.wait(DEADLINE)
        finally:
            if popen.poll() is None:
                popen.kill()
                popen.wait(DEADLINE)


def _unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _answering(port: int, popen: "subprocess.Popen[bytes]") -> None:
    with trio.fail_after(DEADLINE):
        while popen.poll() is None:
            try:
                await Target(port).state()
                return
            except (OSError, ValueError):
                await trio.sleep(0.05)
    raise SystemExit("the server did not start: see --keep-log")


@attrs.define
class Tally:
    """What one server's run came to."""

    server: str
    tried: int = 0
    survived: int = 0  # the process lives on, and serves
    failed: list[str] = attrs.field(factory=list)  # the attacker got what it should not, or something was left
    innocents_lost: int = 0
    rounds: int = 0
    slowest: float = 0.0

    @property
    def is_clean(self) -> bool:
        return self.survived == self.tried and not self.failed and not self.innocents_lost


async def run_all(process: Process, attacks: Sequence[Attack], tally: Tally, verbose: bool) -> None:
    target = Target(process.port, process.server, process.tls_port)
    before = await target.state()
    for attack in attacks:
        tally.tried += 1
        problem = await _run_one(target, attack, tally)
        is_alive = process.is_alive and await _serves(target)
        tally.survived += is_alive
        if problem is None and is_alive:
            problem = await _leftovers(target, before)
            if problem is not None:
                before = await target.state()  # each leftover is held against one attack
        if problem is not None:
            tally.failed.append(f"{attack.topic}: {attack.name}: {problem}")
        if verbose or problem is not None:
            print(f"  {process.server:11} {attack.topic:26} {attack.name:44} {problem or 'ok'}", flush=True)
        if not is_alive:
            print(f"  {process.server} is dead, and started again")
            return


async def _run_one(target: Target, attack: Attack, tally: Tally) -> str | None:
    """What went wrong, if anything did."""
    problem: str | None = None
    try:
        async with innocents(target.port) as others:
            await others.started()
            with trio.fail_after(PER_ATTACK):
                await attack.run(target)
            await others.one_more()
            tally.rounds += others.rounds
            tally.slowest = max(tally.slowest, others.slowest)
    except* InnocentLost as group:
        tally.innocents_lost += 1
        problem = f"innocents: {_first(group)}"
    except* Exception as group:
        problem = problem or f"{_first(group)!r}"
    return problem


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _serves(target: Target) -> bool:
    try:
        await target.state()
    except (OSError, ValueError, trio.TooSlowError):
        return False
    return True


async def _leftovers(target: Target, before: dict[str, int]) -> str | None:
    now: dict[str, Any] = {}
    left: dict[str, int] = {}
    deadline = trio.current_time() + SETTLED
    while trio.current_time() < deadline:
        now = await target.state()
        left = {name: now[name] - before[name] for name in ("channels", "groups", "tasks", "descriptors")}
        if all(count <= 0 for count in left.values()):
            return None
        await trio.sleep(0.1)
    return f"left over: {left}"


def _log_problems(directory: Path) -> list[str]:
    return [
        f"log: {path.name} holds {mark!r}"
        for path in sorted(directory.glob("*.log"))
        for mark in FORBIDDEN_IN_LOG
        if mark in path.read_bytes()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make attack", description=__doc__)
    parser.add_argument("--server", choices=SERVERS, action="append", help="all unless told")
    parser.add_argument("--only", default="", help="attacks whose name or topic contains this")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("--keep-log", type=Path, metavar="DIRECTORY")
    given = parser.parse_args()
    tallies = []
    for server in given.server or SERVERS:
        with tempfile.TemporaryDirectory() as temporary:
            directory = given.keep_log or Path(temporary)
            directory.mkdir(exist_ok=True)
            tally = Tally(server)
            tallies.append(tally)
            attacks = [one for one in ATTACKS if _fits(one, server) and given.only in f"{one.topic} {one.name}"]
            begun = time.monotonic()
            while tally.tried < len(attacks):  # again, after a server's death
                with serving(server, directory, has_tls=server == TLS) as process:
                    trio.run(run_all, process, attacks[tally.tried :], tally, given.verbose)
                if process.popen.returncode != 0:
                    tally.failed.append(f"exit status {process.popen.returncode}")
            tally.failed += _log_problems(directory)
            print(f"{server}: {time.monotonic() - begun:.0f} s", flush=True)
    _report(tallies)
    return 0 if all(tally.is_clean for tally in tallies) else 1


def _fits(attack: Attack, server: str) -> bool:
    same = {TAKEOVER: HYPERCORN, TLS: RUNNER}.get(server)
    return server in attack.servers or same in attack.servers


def _report(tallies: Sequence[Tally]) -> None:
    print(f"\n{'server':11} {'attacks tried':>13} {'survived':>8} {'innocents lost':>14} {'rounds':>7} {'slowest':>9}")
    for tally in tallies:
        slowest = f"{tally.slowest * 1000:.0f} ms"
        counts = f"{tally.tried:13} {tally.survived:8} {tally.innocents_lost:14} {tally.rounds:7} {slowest:>9}"
        print(f"{tally.server:11} {counts}")
    for tally in tallies:
        for problem in tally.failed:
            print(f"FAILED {tally.server}: {problem}")


if __name__ == "__main__":
    sys.exit(main())
