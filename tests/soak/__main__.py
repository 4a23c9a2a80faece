"""`make soak`: churn for SOAK_SECONDS (600), and see that nothing grows and nothing stays.

Exit status 0 if the resident memory grew by less than 1 MiB per 10,000 connections after the warm-up (judged from 5,000
of them on), no task, descriptor, channel or group is left over, and the server stopped in order, both half-way, with
all clients connected, and at the end.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from tests.attack.__main__ import Process, serving
from tests.attack.target import RUNNER, Target
from tests.soak.churn import Counts, churning

WARM_UP: Final = 0.3  # of the time
MOST: Final = 1.0  # MiB per 10,000 cycles
ENOUGH: Final = 5000  # cycles after the warm-up, to judge by
REST: Final = 15.0  # seconds in which everything must be back
KINDS: Final = ("tasks", "descriptors", "channels", "groups")
MIB: Final = 1024 * 1024


@attrs.frozen
class Sample:
    """The server at one time."""

    seconds: float
    cycles: int
    state: dict[str, int]

    @property
    def resident(self) -> float:
        return self.state["resident"] / MIB


@attrs.define
class Soak:
    """One run: two lives of the server, one after the other; memory is judged in the second, longer one."""

    samples: list[Sample] = attrs.field(factory=list)
    before: dict[str, int] = attrs.field(factory=dict)
    after: dict[str, int] = attrs.field(factory=dict)
    counts: Counts = attrs.field(factory=Counts)
    problems: list[str] = attrs.field(factory=list)

    async def run(self, process: Process, seconds: float, clients: int) -> None:
        target = _target(process)
        self.before = await target.state()
        async with churning(target, clients) as self.counts:
            begun = trio.current_time()
            while (now := trio.current_time() - begun) < seconds:
                self.samples.append(Sample(now, self.counts.cycles, await target.state()))
                await trio.sleep(min(1.0, seconds / 20))
        deadline = trio.current_time() + REST
        while self._left(await self._look(target)) and trio.current_time() < deadline:
            await trio.sleep(0.2)
        left = self._left(self.after)
        if left:
            self.problems.append(f"left over: {left}")
        if self.counts.slow:
            self.problems.append(f"{self.counts.slow} cycles did not end in time")

    async def _look(self, target: Target) -> dict[str, int]:
        self.after = await target.state()
        return self.after

    def _left(self, state: dict[str, int]) -> dict[str, int]:
        return {kind: state[kind] - self.before[kind] for kind in KINDS if state[kind] > self.before[kind]}

    def slope(self) -> tuple[float, int]:
        """MiB per 10,000 cycles after the warm-up, by least squares; and how many cycles that were."""
        warm = self.samples[int(len(self.samples) * WARM_UP) :]
        if len(warm) < 3:
            return 0.0, 0
        x = [sample.cycles for sample in warm]
        y = [sample.resident for sample in warm]
        middle, height = sum(x) / len(x), sum(y) / len(y)
        spread = sum((a - middle) ** 2 for a in x)
        steepness = sum((a - middle) * (b - height) for a, b in zip(x, y, strict=True)) / spread if spread else 0.0
        return steepness * 10_000, x[-1] - x[0]


def first_life(directory: Path, seconds: float, clients: int) -> str | None:
    """Churn, and stop the server in the midst of it. What went wrong, if anything did."""
    with serving(RUNNER, directory, has_tls=True) as process:
        trio.run(_stop_amid, process, seconds, clients)
    status = process.popen.returncode
    return None if status == 0 else f"stopped amid the churn with status {status}"


def _target(process: Process) -> Target:
    return Target(process.port, tls_port=process.tls_port)


async def _stop_amid(process: Process, seconds: float, clients: int) -> None:
    async with churning(_target(process), clients):
        await trio.sleep(seconds)
        process.popen.terminate()
        with trio.fail_after(REST):
            while process.popen.poll() is None:
                await trio.sleep(0.05)


def report(soak: Soak) -> None:
    slope, cycles = soak.slope()
    judged = "" if cycles >= ENOUGH else f"  (not judged: fewer than {ENOUGH} connections)"
    if not judged and slope >= MOST:
        soak.problems.append(f"memory grows by {slope:.2f} MiB per 10,000 connections")
    print(f"\n{'':13}{'before':>10} {'most':>10} {'after':>10}")
    for kind in (*KINDS, "resident"):
        unit = MIB if kind == "resident" else 1
        most = max(sample.state[kind] for sample in soak.samples)
        row = [
            f"{value / unit:10.1f}" if unit > 1 else f"{value:10}"
            for value in (soak.before[kind], most, soak.after[kind])
        ]
        print(f"{kind:13}{' '.join(row)}{' MiB' if unit > 1 else ''}")
    counts = soak.counts
    happened = f"{counts.sent} messages, {counts.requests} requests, {counts.cut} cut by the server, {counts.endings}"
    print(f"\nconnections  {counts.cycles}: {happened}")
    print(f"slope        {slope:+.3f} MiB per 10,000 connections, over {cycles}{judged}")
    for problem in soak.problems:
        print(f"FAILED       {problem}")


def plot(samples: Sequence[Sample], path: Path) -> None:
    """Memory and queues over time, as PNG; a note where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        print("plot         matplotlib is not installed (pip install 'nexios-trio[plots]')")
        return
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (memory, queues) = pyplot.subplots(2, sharex=True, figsize=(9, 6), layout="constrained")
    seconds = [sample.seconds for sample in samples]
    memory.plot(seconds, [sample.resident for sample in samples])
    memory.set_ylabel("resident memory (MiB)")
    queues.plot(seconds, [sample.state["queued"] for sample in samples], label="messages in outboxes")
    queues.plot(seconds, [sample.state["channels"] for sample in samples], label="channels")
    queues.set_xlabel("seconds")
    queues.set_ylim(bottom=0)
    figure.legend(loc="outside lower right", ncols=2)
    figure.savefig(path, dpi=100)
    print(f"plot         {path}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SOAK_SECONDS", "600")))
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--plot", type=Path, default=Path("soak.png"))
    given = parser.parse_args()
    soak = Soak()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        problem = first_life(directory, given.seconds * 0.1, given.clients)
        if problem is not None:
            soak.problems.append(problem)
        with serving(RUNNER, directory, has_tls=True) as process:
            trio.run(soak.run, process, given.seconds * 0.9, given.clients)
        if process.popen.returncode != 0:
            soak.problems.append(f"stopped with status {process.popen.returncode}")
        if b"Traceback" in (directory / f"{RUNNER}.log").read_bytes():
            soak.problems.append("the log has tracebacks")
            print((directory / f"{RUNNER}.log").read_text()[-2000:])
    report(soak)
    plot(soak.samples, given.plot)
    print(f"{time.monotonic() - begun:.0f} s")
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
