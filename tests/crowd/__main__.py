"""`make crowd`: many innocent clients alone, then with as many hostile ones; what the innocent half notices.

That is done three times, beside the same server, since another program on the machine may have its turn in any of them.
Exit status 0 if no innocent connection was lost, every message was heard, and the 99th percentile of the delivery
latency stayed, in the middle one of the three, within twice its quiet value. The server runs with the default settings.
"""

import argparse
import gc
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from tests.attack.__main__ import Process, serving
from tests.attack.target import RUNNER, Target
from tests.crowd import hostile
from tests.crowd.innocents import Innocents

WARM_UP: Final = 5.0  # seconds
MOST: Final = 2.0  # times the quiet value
TICKS: Final = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Phase:
    """What was seen in one stretch of time."""

    name: str
    connections: int
    latencies: list[float]  # sorted
    due: int
    load: float  # of one processor, by the server

    def quantile(self, q: float) -> float:
        """Milliseconds."""
        return self.latencies[min(len(self.latencies) - 1, int(q * len(self.latencies)))] * 1000

    def print(self) -> None:
        heard = len(self.latencies)
        times = " ".join(f"{self.quantile(q):6.1f} ms" for q in (0.5, 0.99, 0.999))
        print(
            f"{self.name:9}{self.connections:12} {heard:11} {self.due - heard:8} {times} {self.load:6.0%}", flush=True
        )


def measure(name: str, crowd: Innocents, process: Process, seconds: float, rate: float) -> Phase:
    crowd.latencies, crowd.due = [], 0
    before, begun = _processor_seconds(process), time.monotonic()
    crowd.talk(seconds, rate)
    load = (_processor_seconds(process) - before) / (time.monotonic() - begun)
    connections = trio.run(Target(process.port).state)["descriptors"]
    return Phase(name, connections, sorted(crowd.latencies), crowd.due, load)


def _processor_seconds(process: Process) -> float:
    fields = Path(f"/proc/{process.popen.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def besieged(port: int, given: argparse.Namespace) -> Generator[dict[str, int]]:
    """The hostile half, for the length of the block; then what it did, in the dict."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    counts: dict[str, int] = {}
    process = context.Process(
        target=hostile.run, args=(port, given.hostile, given.rooms, given.only, given.nice, theirs), daemon=True
    )
    process.start()
    theirs.close()  # else its end would not be seen here
    try:
        yield counts
        ours.send("enough")
        counts |= ours.recv()
    finally:
        process.kill()
        process.join()


def one_round(crowd: Innocents, process: Process, counts: Counter[str], given: argparse.Namespace) -> list[Phase]:
    """The innocents alone, then besieged."""
    crowd.talk(WARM_UP, given.rate)
    quiet = measure("quiet", crowd, process, given.seconds, given.rate)
    with besieged(process.port, given) as done:
        crowd.talk(hostile.PACE + WARM_UP, given.rate)  # they arrive
        loud = measure("hostile", crowd, process, given.seconds, given.rate)
    counts.update(done)
    return [quiet, loud]


def report(rounds: list[list[Phase]], crowd: Innocents, counts: Counter[str]) -> list[str]:
    """Print it; what was wrong."""
    ratios = [loud.quantile(0.99) / quiet.quantile(0.99) for quiet, loud in rounds]
    ratio = statistics.median(ratios)
    each = ", ".join(f"{one:.2f}" for one in ratios)
    print(f"\np99 ratio {ratio:.2f} (of {each}; at most {MOST:g})   innocent connections lost {crowd.lost}")
    print(f"attacks   {', '.join(f'{name} {count}' for name, count in sorted(counts.items()))}")
    problems = [
        f"{phase.name}: messages were not heard"
        for phases in rounds
        for phase in phases
        if len(phase.latencies) != phase.due
    ]
    problems += [f"{crowd.lost} innocent connections were lost"] if crowd.lost else []
    problems += [f"the p99 is {ratio:.2f} times the quiet one"] if ratio > MOST else []
    return problems


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make crowd", description=__doc__)
    parser.add_argument("--innocents", type=int, default=5000)
    parser.add_argument("--hostile", type=int, default=5000)
    parser.add_argument("--rooms", type=int, default=100)
    parser.add_argument("--rate", type=float, default=200.0, help="messages a second, each to a room's members")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each measurement, of which a round has two")
    parser.add_argument("--nice", type=int, default=19, help="of the hostile process, which shares our processors")
    parser.add_argument("--only", default="", help="attacks whose name contains this")
    return parser.parse_args()


def main() -> int:
    given = _arguments()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the server inherits it
    with tempfile.TemporaryDirectory() as temporary:
        with serving(RUNNER, Path(temporary), {}, has_access_log=False) as process:
            crowd = Innocents(process.port, given.innocents, given.rooms)
            crowd.arrive()
            gc.collect()
            gc.disable()  # a pause of ours would look like one of the server's
            print(
                f"{'':9}{'connections':>12} {'deliveries':>11} {'missing':>8} {'p50':>9} {'p99':>9} {'p99.9':>9} {'server':>7}"
            )
            counts: Counter[str] = Counter()
            rounds = []
            for _ in range(given.rounds):
                rounds.append(one_round(crowd, process, counts, given))
                for phase in rounds[-1]:
                    phase.print()
        problems = report(rounds, crowd, counts)
        if process.popen.returncode != 0:
            problems.append(f"the server ended with status {process.popen.returncode}")
    for problem in problems:
        print(f"FAILED    {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
