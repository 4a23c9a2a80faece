"""`make cost`: how many instructions a server executes for an echo, a connection, a delivery.

They are counted under valgrind, in user space alone: the interpreter's, with everything that it runs, and not the
kernel's, which is nine tenths of a delivery's time. In return a count is the same within 1 % on a busy machine and a
quiet one. Decide by it, and let `make bench` confirm by the clock.
"""

import argparse
import datetime
import platform
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.__main__ import terminated
from benchmarks.machine import Missing, allow_descriptors, processors
from benchmarks.servers import Kit, Server

from .callgrind import counted_server, require_valgrind
from .servers import OURS, PEERS, counted, versions, with_metrics
from .table import KEPT, Row, Table, changes, median, other_versions, over, show, spread
from .workloads import TITLES, WORKLOADS, Workload


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make cost", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", metavar="NAMES", help=f"ours, peers, or a regular expression: {', '.join([*OURS, *PEERS])}"
    )
    parser.add_argument(
        "-w", "--workloads", metavar="REGEX", default=".*", help=f"those whose whole name matches: {', '.join(TITLES)}"
    )
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="count so often, and show the spread (1)")
    parser.add_argument(
        "--against", nargs="?", type=Path, const=KEPT, metavar="FILE", help="show changes from a table (the kept one)"
    )
    parser.add_argument("--limit", type=float, metavar="PERCENT", help="with --against: fail if a count rose by more")
    parser.add_argument("--metrics", action="store_true", help="of our lanes alone, with metrics that nobody asks for")
    parser.add_argument("--write", action="store_true", help=f"keep what was counted in {KEPT.name}")
    parser.add_argument("--peers", type=Path, default=Path(".venv-bench/bin/python"), metavar="PYTHON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments()
    given = parser.parse_args(argv)
    servers = [server for server in counted() if _is_chosen(server, given.only)]
    if given.metrics:
        servers = [with_metrics(server) for server in servers if server.is_ours]
    workloads = [workload for workload in WORKLOADS if re.fullmatch(given.workloads, workload.name)]
    if not servers or not workloads or given.repeat < 1:
        parser.error("no such server or workload, or no round; --help names them")
    if given.limit is not None and given.against is None:
        parser.error("--limit is a limit of changes, so it needs --against")
    if given.metrics and given.write:
        parser.error("the kept table is of servers without metrics: --write does not go with --metrics")
    try:
        require_valgrind()
        kept = Table.load(given.against) if given.against is not None else Table()
    except (Missing, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    allow_descriptors()
    kit = Kit(given.peers.absolute(), Path("build/bench"), processors()[1])
    tables: list[Table] = []
    problems: list[str] = []
    try:
        _count(tables, problems, servers, workloads, kit, given.repeat)
    finally:  # also what was counted until Ctrl-C
        _report(tables, kept)
        if given.write:
            table = Table.load(KEPT)
            table.merge(median(tables))
            table.save(KEPT)
    if given.limit is not None:
        problems += over(changes(median(tables), kept), given.limit)
    for problem in problems:
        print(f"FAILED  {problem}")
    return 1 if problems else 0


def _is_chosen(server: Server, only: str | None) -> bool:
    match only:
        case None:
            return True
        case "ours":
            return server.is_ours
        case "peers":
            return not server.is_ours
    return re.fullmatch(only, server.name) is not None


def _count(
    tables: list[Table],
    problems: list[str],
    servers: Sequence[Server],
    workloads: Sequence[Workload],
    kit: Kit,
    repeat: int,
) -> None:
    """Add a table for each round, and what went wrong."""
    for _ in range(repeat):
        table = Table()
        tables.append(table)
        for server in servers:
            began = time.monotonic()
            try:
                table.rows[server.name] = _row(server, workloads, kit)
            except (Missing, RuntimeError, OSError) as error:
                problems.append(f"{server.name}: {error}")
            print(f"{server.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _row(server: Server, workloads: Sequence[Workload], kit: Kit) -> Row:
    used = versions(server, kit)
    with counted_server(server, kit) as running:
        counts = {each.name: each.measure(running) for each in workloads if server.is_ours or not each.is_ours}
    return Row(counts, datetime.datetime.now(datetime.UTC).date().isoformat(), used)


def _report(tables: Sequence[Table], kept: Table) -> None:
    table = median(tables)
    print(f"Instructions in user space; Python {platform.python_version()} for our lanes\n")
    print(show(table, TITLES, changes(table, kept)))
    for sentence in other_versions(table, kept):
        print(f"\nNot the same versions. {sentence}")
    if len(tables) > 1:
        print(f"\nThe largest of {len(tables)} counts is above the smallest by\n")
        percents = Table({name: Row({}, row.date, row.versions) for name, row in table.rows.items()})
        for change in spread(tables):
            row = percents.rows[change.server]
            percents.rows[change.server] = Row({**row.counts, change.workload: change.percent}, row.date, row.versions)
        print(show(percents, TITLES, digits=2, unit=" %"))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, terminated)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
