"""The table of counts: what is kept of it, and how a new one compares.

A kept count belongs to a build of the interpreter: compare on the machine, or at least with the Python, that it was
made with.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import attrs

from benchmarks.report import aligned

Counts = Mapping[str, float]  # by workload, instructions of one unit
KEPT: Final = Path(__file__).with_name("table.json")


@attrs.frozen
class Row:
    """What one server costs.

    Args:
        counts: by workload; rounded to whole instructions when kept.
        date: on which they were made, as YYYY-MM-DD.
        versions: of what the counts depend on, by name.
    """

    counts: Counts = attrs.field(hash=False)
    date: str
    versions: Mapping[str, str] = attrs.field(hash=False)


@attrs.define
class Table:
    """Rows by the server's name."""

    rows: dict[str, Row] = attrs.field(factory=dict)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises: ValueError, naming the file, when it is not a table. A file that is not there is an empty one."""
        if not path.exists():
            return cls()
        try:
            rows = json.loads(path.read_text())
            return cls({name: Row(row["counts"], row["date"], row["versions"]) for name, row in rows.items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not a table that `make cost` has written: {error!r}") from error

    def merge(self, newer: "Table") -> None:
        """Take over the counts of `newer`; what only we have stays, also a workload of the same server."""
        for name, row in newer.rows.items():
            before = self.rows.get(name)
            counts = {**(before.counts if before is not None else {}), **row.counts}
            self.rows[name] = attrs.evolve(row, counts=counts)

    def save(self, path: Path) -> None:
        rows = {
            name: {
                "date": row.date,
                "versions": dict(row.versions),
                "counts": {workload: round(count) for workload, count in row.counts.items()},
            }
            for name, row in self.rows.items()
        }
        path.write_text(json.dumps(rows, indent=2) + "\n")


@attrs.frozen
class Change:
    """How a count differs from the kept one."""

    server: str
    workload: str
    percent: float


def changes(now: Table, kept: Table) -> list[Change]:
    """Return the changes of all counts that both have."""
    return [
        Change(name, workload, 100 * (count / kept.rows[name].counts[workload] - 1))
        for name, row in now.rows.items()
        if name in kept.rows
        for workload, count in row.counts.items()
        if workload in kept.rows[name].counts
    ]


def other_versions(now: Table, kept: Table) -> list[str]:
    """Return a sentence for each server whose kept counts were made with something else."""
    return [
        f"{name}: kept with {_listed(kept.rows[name].versions)}; now {_listed(row.versions)}"
        for name, row in now.rows.items()
        if name in kept.rows and kept.rows[name].versions != row.versions
    ]


def over(found: Sequence[Change], percent: float) -> list[str]:
    """Return a sentence for each rise by more than `percent`."""
    return [
        f"{change.server}, {change.workload}: {change.percent:+.1f} %" for change in found if change.percent > percent
    ]


def spread(repeated: Sequence[Table]) -> list[Change]:
    """Return, for each count, how far the largest of several is above the smallest."""
    first = repeated[0]
    found = []
    for name, row in first.rows.items():
        for workload in row.counts:
            seen = [
                table.rows[name].counts[workload]
                for table in repeated
                if name in table.rows and workload in table.rows[name].counts
            ]
            found.append(Change(name, workload, 100 * (max(seen) / min(seen) - 1)))
    return found


def median(repeated: Sequence[Table]) -> Table:
    """Return the middle one of several counts, for each; the lower of two middle ones."""
    rows: dict[str, list[Row]] = {}
    for table in repeated:
        for name, row in table.rows.items():
            rows.setdefault(name, []).append(row)
    return Table({name: _median_row(found) for name, found in rows.items()})


def _median_row(rows: Sequence[Row]) -> Row:
    counts = {}
    for workload in rows[0].counts:
        seen = sorted(row.counts[workload] for row in rows if workload in row.counts)
        counts[workload] = seen[(len(seen) - 1) // 2]
    return attrs.evolve(rows[0], counts=counts)


def show(
    table: Table, titles: Mapping[str, str], found: Sequence[Change] = (), *, digits: int = 0, unit: str = ""
) -> str:
    """Return the table as Markdown: a row for each server, a column for each workload, with its change if any."""
    percents = {(change.server, change.workload): f" ({change.percent:+.1f} %)" for change in found}
    columns = [workload for workload in titles if any(workload in row.counts for row in table.rows.values())]
    rows = [["server", *(titles[workload] for workload in columns)]]
    for name, row in table.rows.items():
        cells = [
            f"{row.counts[workload]:,.{digits}f}{unit}{percents.get((name, workload), '')}"
            if workload in row.counts
            else "-"
            for workload in columns
        ]
        rows.append([name, *cells])
    return aligned(rows)


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
