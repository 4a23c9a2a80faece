"""The comparison: every server with every workload, in rounds, and the medians of what was seen."""

import json
import random
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from .machine import Missing, pinned
from .servers import Kit, Server, serving
from .workloads import Seen, Workload

LIMIT = 240.0  # seconds for one run of the load generator


@attrs.frozen
class Load:
    """The load generator.

    Args:
        command: what is started; mode, port and options come behind it.
        processor: the one that it runs on.
        is_alone: no server runs on that processor, so that it may look for answers without a pause.
    """

    command: Sequence[str]
    processor: int
    is_alone: bool

    def run(self, workload: Workload, port: int, pids: Sequence[int], speed: float) -> Seen:
        """What it has seen. Raises: RuntimeError when it could not do its work."""
        options = [*workload.arguments(speed), f"spin={self.is_alone:d}", f"pids={','.join(map(str, pids))}"]
        with pinned(self.processor):
            done = subprocess.run(
                [*self.command, workload.mode, str(port), *options],
                capture_output=True,
                text=True,
                timeout=LIMIT,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(done.stderr.strip()[-300:] or f"the load generator ended with {done.returncode}")
        seen: Seen = json.loads(done.stdout)
        return seen


@attrs.define
class Comparison:
    """What was seen of each server with each workload, round by round."""

    seen: dict[tuple[str, str], list[Seen]] = attrs.field(factory=dict)
    problems: list[str] = attrs.field(factory=list)

    def add(self, server: str, workload: Workload, seen: Seen) -> None:
        """Count a run, if it is a measurement."""
        problem = workload.problem(seen)
        if problem is None:
            self.seen.setdefault((server, workload.name), []).append(seen)
        else:
            self.note(server, workload, problem)

    def note(self, server: str, workload: Workload, problem: str) -> None:
        """Remember what went wrong."""
        self.problems.append(f"{server}, {workload.name}: {problem}")

    def median(self, server: str, workload: str) -> Seen | None:
        """The median of each figure; None when there is no run to take it of."""
        runs = self.seen.get((server, workload))
        if not runs:
            return None
        keys = [key for key in runs[0] if all(key in run for run in runs)]
        return {key: statistics.median(run[key] for run in runs) for key in keys}

    def times(self, key: str | None, server: str, other: str, workload: str) -> float | None:
        """How many times `other`'s figure is of `server`'s."""
        mine, theirs = self.median(server, workload), self.median(other, workload)
        if key is None or mine is None or theirs is None or not mine.get(key) or key not in theirs:
            return None
        return theirs[key] / mine[key]

    def save(self, path: Path) -> None:
        rows = [
            {"server": server, "workload": workload, "round": number, **seen}
            for (server, workload), runs in self.seen.items()
            for number, seen in enumerate(runs)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@attrs.frozen
class Run:
    """One server with one workload in one round."""

    server: Server
    workload: Workload


def plan(servers: Sequence[Server], workloads: Sequence[Workload], rounds: int) -> list[Run]:
    """Each round has the servers in another order, so that what else the machine does meets all of them."""
    runs: list[Run] = []
    for number in range(rounds):
        for workload in workloads:
            if workload.rounds is not None and number >= workload.rounds:
                continue
            order = [server for server in servers if server.is_ours or not workload.only_ours]
            random.Random(f"{number} {workload.name}").shuffle(order)
            runs += [Run(server, workload) for server in order]
    return runs


def compare(
    comparison: Comparison,
    runs: Sequence[Run],
    kit: Kit,
    load: Load,
    *,
    speed: float = 1.0,
    tell: Callable[[Run], None] = lambda run: None,
) -> None:
    """Do each run on a server of its own, and add to `comparison` what was seen; `tell` is called before each."""
    for run in runs:
        tell(run)
        try:
            with serving(run.server, kit) as running:
                seen = load.run(run.workload, running.port, running.pids, speed)
        except (RuntimeError, Missing, subprocess.SubprocessError) as error:
            comparison.note(run.server.name, run.workload, str(error))
        else:
            comparison.add(run.server.name, run.workload, seen)
