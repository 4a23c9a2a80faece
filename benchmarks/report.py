"""Tables and a plot of a comparison."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .comparison import Comparison
from .servers import Server
from .workloads import Workload

REFERENCES: Final = ("nexios", "picows", "limit")  # what ratios are taken to
SHARED: Final = {"workers": "workers, a parent", "nodes": "nodes, a Valkey server"}
GROUPS: Final = {"f100": 100, "f1000": 1000, "f4000": 4000}  # members


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of a header and rows, the first column to the left and the others to the right."""
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        " | ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))])
        for row in rows
    ]
    rule = " | ".join(["-" * first, *("-" * (width - 1) + ":" for width in others)])
    return "\n".join(f"| {line} |" for line in [lines[0], rule, *lines[1:]])


def table(comparison: Comparison, workload: Workload, servers: Sequence[Server]) -> str:
    """What one workload cost each server, and how many times cheaper it was than each reference."""
    references = [server.name for server in servers if server.name in REFERENCES and workload.cost]
    rows = [["server", *(column.title for column in workload.columns), *(f"/ {name}" for name in references)]]
    for server in servers:
        seen = comparison.median(server.name, workload.name)
        if seen is not None:
            ratios = [ratio(comparison, workload, server.name, other) for other in references]
            rows.append([server.name, *(column.show(seen) for column in workload.columns), *ratios])
    return aligned(rows)


def ratio(comparison: Comparison, workload: Workload, server: str, other: str) -> str:
    """By cost, and in brackets by rate; above 1 is better than `other`."""
    by_cost = comparison.times(workload.cost, server, other, workload.name)
    by_rate = comparison.times(workload.rate, other, server, workload.name)
    if by_cost is None:
        return "-"
    return f"{by_cost:.2f}" if by_rate is None else f"{by_cost:.2f} ({by_rate:.2f})"


def growth(comparison: Comparison, servers: Sequence[Server]) -> str | None:
    """What a delivery costs in larger groups, with the smallest as 1."""
    measured = [name for name in GROUPS if any((server.name, name) in comparison.seen for server in servers)]
    if len(measured) < 2:
        return None
    rows = [["server", *(f"{GROUPS[name]:,} members" for name in measured)]]
    for server in servers:
        costs = [comparison.median(server.name, name) for name in measured]
        if costs[0] is not None and costs[0]["cpu_us"]:
            first = costs[0]["cpu_us"]
            rows.append([server.name, *("-" if seen is None else f"{seen['cpu_us'] / first:.2f}" for seen in costs)])
    return aligned(rows)


def sharing(comparison: Comparison) -> str | None:
    """What a delivery costs where the members are spread over processes, with that of one process as 1."""
    rows = [["workload", "spread over", "they", "what they share"]]
    for (server, name), _ in comparison.seen.items():
        one, several = comparison.median("runner", name), comparison.median(server, name)
        if server in SHARED and one is not None and several is not None and one.get("cpu_us"):
            shared = several["parent_us"]
            each = [(several["cpu_us"] - shared) / one["cpu_us"], shared / one["cpu_us"]]
            rows.append([name, SHARED[server], *(f"{share:.2f}" for share in each)])
    return aligned(rows) if len(rows) > 1 else None


def print_report(comparison: Comparison, workloads: Sequence[Workload], servers: Sequence[Server]) -> None:
    """All tables that there are figures for, and what went wrong."""
    for workload in workloads:
        if any((server.name, workload.name) in comparison.seen for server in servers):
            print(f"\n{workload.name}: {workload.is_}\n\n{table(comparison, workload, servers)}")
    curve = growth(comparison, servers)
    if curve is not None:
        print(f"\nCPU per delivery, as it grows with the group\n\n{curve}")
    shared = sharing(comparison)
    if shared is not None:
        print(f"\nCPU per message of several processes, and of what they share, with that of one as 1\n\n{shared}")
    for problem in comparison.problems:
        print(f"\nFAILED  {problem}")


def plot(comparison: Comparison, servers: Sequence[Server], path: Path) -> bool:
    """Draw the cost per member against the size of the group. False where there is nothing to draw, or nothing to
    draw with.
    """
    curves = {}
    for server in servers:
        medians = [(GROUPS[name], comparison.median(server.name, name)) for name in GROUPS]
        points = [(members, seen["cpu_us"]) for members, seen in medians if seen is not None]
        if len(points) > 1:
            curves[server] = points
    if not curves:
        return False
    try:
        import matplotlib
    except ImportError:
        print("\nThere is no plot: matplotlib is not installed (pip install 'nexios-trio[plots]')")
        return False
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 6), layout="constrained")
    for server, points in curves.items():
        members, costs = zip(*points, strict=True)
        axes.plot(members, costs, label=server.name, linewidth=2.5 if server.is_ours else 1, marker="o")
    axes.set(xscale="log", yscale="log", xlabel="members of the group", ylabel="server CPU per delivery (µs)")
    axes.set_xticks(list(GROUPS.values()), [f"{size:,}" for size in GROUPS.values()])
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path)
    pyplot.close(figure)
    return True
