"""`make bench`: how the servers compare side by side, and how the core's hot paths grow.

Every server answers the same workloads on one processor, with the load on another. Only ratios of one run mean
anything: other work on the machine moves all figures, messages per second more than CPU per message.
"""

import argparse
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from . import alternatives, engine, memory, micro
from .comparison import Comparison, Load, Run, compare, plan
from .machine import Missing, allow_descriptors, build, description, processors
from .report import plot, print_report
from .servers import SERVERS, Kit, Server
from .workloads import WORKLOADS, Workload

QUICK: Final = 3.0  # times as fast
DESCRIPTORS: Final = 500  # more than there are connections


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "part", nargs="?", choices=("all", "compare", "micro", "alternatives", "engine", "memory"), default="all"
    )
    parser.add_argument("--quick", action="store_true", help="fewer servers and workloads, one short round: 3 minutes")
    parser.add_argument("-s", "--servers", metavar="REGEX", help="only those whose whole name matches")
    parser.add_argument("-w", "--workloads", metavar="REGEX", help="only those whose whole name matches")
    parser.add_argument("-r", "--rounds", type=int, help="of which the median counts (3; 1 when quick)")
    parser.add_argument("--list", action="store_true", help="show the servers and workloads, and exit")
    parser.add_argument("--peers", type=Path, default=Path(".venv-bench/bin/python"), metavar="PYTHON")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench"), metavar="DIRECTORY")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments()
    given = parser.parse_args(argv)
    servers = [one for one in SERVERS if _is_chosen(one.name, given.servers, one.is_quick or not given.quick)]
    workloads = [one for one in WORKLOADS if _is_chosen(one.name, given.workloads, one.is_quick or not given.quick)]
    if not servers or not workloads or (given.rounds is not None and given.rounds < 1):
        parser.error("no such server or workload, or no round; --list shows what there is")
    if given.list:
        _list(servers, workloads)
        return 0
    status = 0
    if given.part in ("all", "compare"):
        status = _compare(given, servers, workloads)
    if given.part in ("all", "micro"):
        print("\nThe core's hot paths, as they grow\n")
        print(micro.table(micro.curves(rounds=3 if given.quick else micro.ROUNDS)))
    if given.part in ("all", "alternatives"):
        print("\nWhat the ways not taken cost (docs/decisions)\n")
        print(alternatives.table(alternatives.measured(rounds=1 if given.quick else alternatives.ROUNDS)))
    if given.part in ("all", "engine"):
        status = _engine(1 if given.quick else engine.ROUNDS) or status
    if given.part == "memory":  # not with the others: our server runs in this process, whose collector it tunes
        print("What an idle connection holds, object by object; bytes of Python's allocators\n")
        for path, what in (("/echo", "with the task of its handler"), ("/sync", "with a synchronous consumer")):
            print(f"{what}\n\n{memory.table(memory.held(path))}\n")
    return status


def _engine(rounds: int) -> int:
    """What the Redis engine costs. Returns the exit status."""
    try:
        found = engine.measured(rounds)
    except Missing as error:
        print(f"\nWithout the engine of a Redis server: {error}", file=sys.stderr)
        return 1
    print("\nThe engine of a Redis or Valkey server, beside a bare link to it\n")
    print(engine.table(found))
    return 0


def _is_chosen(name: str, pattern: str | None, is_usual: bool) -> bool:
    return is_usual if pattern is None else re.fullmatch(pattern, name) is not None


def _list(servers: Sequence[Server], workloads: Sequence[Workload]) -> None:
    for name, is_ in [*((one.name, one.is_) for one in servers), *((one.name, one.is_) for one in workloads)]:
        print(f"{name:18} {is_}")


def _compare(given: argparse.Namespace, servers: Sequence[Server], workloads: Sequence[Workload]) -> int:
    """The comparison and its report. Returns the exit status: 1 if anything failed."""
    output: Path = given.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    load_cpu, server_cpu = processors()
    kit = Kit(given.peers.absolute(), output, server_cpu)
    try:
        load = Load([str(build("load", output))], load_cpu, is_alone=load_cpu != server_cpu)
    except Missing as error:
        print(f"There is nothing to compare with: {error}", file=sys.stderr)
        return 1
    servers = _present(servers, kit)
    most = allow_descriptors()
    workloads = [one for one in workloads if _fits(one, most)]
    runs = plan(servers, workloads, given.rounds or (1 if given.quick else 3))
    speed = QUICK if given.quick else 1.0
    print(
        f"{description()}; {len(runs)} runs, some {sum(run.workload.seconds(speed) for run in runs) / 60:.0f} minutes"
    )
    comparison = Comparison()
    try:
        compare(comparison, runs, kit, load, speed=speed, tell=_Progress(len(runs)))
    finally:  # also what was measured until Ctrl-C
        print_report(comparison, workloads, servers)
        comparison.save(output / "runs.jsonl")
        if plot(comparison, servers, output / "cost.svg"):
            print(f"\nThe plot is {output / 'cost.svg'}, every single run is in {output / 'runs.jsonl'}")
    return 1 if comparison.problems else 0


def _present(servers: Sequence[Server], kit: Kit) -> list[Server]:
    found = []
    for server in servers:
        problem = server.missing(kit)
        if problem is None:
            found.append(server)
        else:
            print(f"Without {server.name}: {problem}")
    return found


def _fits(workload: Workload, descriptors: int) -> bool:
    is_possible = workload.load["n"] + DESCRIPTORS <= descriptors
    if not is_possible:
        print(f"Without {workload.name}: this machine allows {descriptors} open files (ulimit -Hn)")
    return is_possible


class _Progress:
    """Says on standard error what is being measured."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._begun = time.monotonic()

    def __call__(self, run: Run) -> None:
        self._done += 1
        minutes, seconds = divmod(int(time.monotonic() - self._begun), 60)
        print(
            f"{minutes:3}:{seconds:02} {self._done}/{self._total} {run.workload.name} on {run.server.name}",
            file=sys.stderr,
            flush=True,
        )


def terminated(number: int, frame: FrameType | None) -> NoReturn:
    """Handles SIGTERM so that `finally` blocks run, which stop the servers."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, terminated)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
