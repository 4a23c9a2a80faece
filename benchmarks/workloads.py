"""What the servers are made to do, and what is seen of it."""

from collections.abc import Mapping
from typing import Final

import attrs

Seen = Mapping[str, float]  # what the load generator has printed

TIMES: Final = ("warm", "time", "stall")


@attrs.frozen
class Column:
    """One figure of a row.

    Args:
        scale: what it is multiplied with to be shown.
    """

    title: str
    key: str
    digits: int = 0
    scale: float = 1.0

    def show(self, seen: Seen) -> str:
        return f"{seen[self.key] * self.scale:,.{self.digits}f}" if self.key in seen else "-"


@attrs.frozen
class Workload:
    """One table.

    Args:
        load: the load generator's mode and options; times are milliseconds.
        cost: what a ratio compares; less is better.
        rate: what a ratio shows in brackets; more is better.
        is_quick: part of a quick run.
        only_ours: the peers are not asked.
        rounds: at most so many.
    """

    name: str
    is_: str
    mode: str
    load: Mapping[str, int]
    columns: tuple[Column, ...]
    cost: str | None = None
    rate: str | None = None
    is_quick: bool = False
    only_ours: bool = False
    rounds: int | None = None

    def arguments(self, speed: float) -> list[str]:
        """For the load generator; `speed` 2 halves the times."""
        options = {name: int(value / speed) if name in TIMES else value for name, value in self.load.items()}
        return [f"{name}={value}" for name, value in options.items()]

    def seconds(self, speed: float) -> float:
        """How long it takes, roughly, with the start of the server."""
        return sum(self.load.get(name, 0) for name in TIMES) / 1000 / speed + 2 + self.load["n"] / 3000

    def problem(self, seen: Seen) -> str | None:
        """Why a run is not a measurement."""
        if seen["wrong"]:
            return f"{seen['wrong']:.0f} messages were wrong, missing or out of order"
        if seen["lost"]:
            return f"{seen['lost']:.0f} connections were lost"
        return None


MESSAGES: Final = (
    Column("messages/s", "rate"),
    Column("CPU µs", "cpu_us", 2),
    Column("the parent's", "parent_us", 2),
    Column("p50 ms", "p50_us", 2, 1e-3),
    Column("p99 ms", "p99_us", 2, 1e-3),
    Column("KiB each", "kib", 1),
)
STORM: Final = (
    Column("connections/s", "connects"),
    Column("CPU µs", "connect_cpu_us", 1),
    Column("p50 ms", "connect_p50_ms", 1),
    Column("p99 ms", "connect_p99_ms", 1),
)
IDLE: Final = (
    Column("CPU % of a core", "cpu_share", 2, 100),
    Column("KiB each", "kib", 1),
    Column("connections/s", "connects"),
)
SLOW: Final = (
    Column("kept % of the rate", "kept", 1, 100),
    Column("reset of 5", "resets"),
    Column("last reset, s", "reset_after_s", 1),
    Column("memory grown by KiB", "grown_kib"),
    Column("messages/s before", "rate"),
)


def _fanout(n: int, *, warm: int, time: int, window: int = 1, is_quick: bool = False) -> Workload:
    joined = f", {window} of them on their way at a time" if window > 1 else ""
    return Workload(
        f"f{n}" + (f"w{window}" if window > 1 else ""),
        f"messages of 120 bytes to a group of {n:,}{joined}; per delivery",
        "fanout",
        {"n": n, "size": 120, "window": window, "warm": warm, "time": time},
        MESSAGES,
        cost="cpu_us",
        rate="rate",
        is_quick=is_quick,
    )


def _echo(n: int, *, is_quick: bool = False) -> Workload:
    load = {"n": n, "size": 64, "warm": 300, "time": 1200}
    text = f"{n} clients, each with one message of 64 bytes on its way; per message"
    return Workload(f"e{n}", text, "echo", load, MESSAGES, cost="cpu_us", rate="rate", is_quick=is_quick)


WORKLOADS: Final = (
    _fanout(100, warm=300, time=1200, is_quick=True),
    _fanout(1000, warm=300, time=1500, is_quick=True),
    _fanout(4000, warm=500, time=2500, is_quick=True),
    _fanout(1000, warm=500, time=2000, window=16),
    _echo(32, is_quick=True),
    _echo(256),
    Workload(
        "storm",
        "2,000 clients connect, 64 at a time; per connection",
        "storm",
        {"n": 2000},
        STORM,
        cost="connect_cpu_us",
        rate="connects",
    ),
    Workload(
        "memory",
        "2,000 members of a group at rest; per connection",
        "idle",
        {"n": 2000, "role": 1, "time": 500},
        (Column("KiB each", "kib", 1),),
    ),
    Workload(
        "slow",
        "a group of 1,000, of which 5 stop reading; what becomes of the others in 25 s",
        "fanout",  # messages so large that the kernel's buffers, some 2 MB each, are full in seconds
        {"n": 1000, "stalled": 5, "size": 2000, "window": 4, "warm": 500, "time": 2000, "stall": 25_000},
        SLOW,
    ),
    Workload(
        "idle10k",
        "10,000 members of a group at rest for 60 s, pings included",
        "idle",
        {"n": 10_000, "role": 1, "warm": 1000, "time": 60_000},
        IDLE,
        only_ours=True,
        rounds=1,
    ),
)
