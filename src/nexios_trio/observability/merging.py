"""The metrics of several processes as one text: each family once, with everybody's samples."""

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["CONTENT_TYPE", "count_workers", "merge_metrics"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_NAME: Final = re.compile(r"# (?:HELP|TYPE) (\S+)")


def merge_metrics(texts: Iterable[str]) -> str:
    """Merge texts in prometheus's format, in which samples follow the `HELP` and `TYPE` of their family.

    Samples have to differ by a label, such as `worker`.
    """
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for text in texts:
        family = ""
        for line in text.splitlines():
            found = _NAME.match(line)
            if found is not None:
                family = found[1]
                if family not in samples or not samples[family]:
                    lines = heads.setdefault(family, [])
                    if line not in lines:
                        lines.append(line)
                samples.setdefault(family, [])
            elif line:
                samples.setdefault(family, []).append(line)
    return "".join(f"{line}\n" for family in samples for line in [*heads.get(family, ()), *samples[family]])


def count_workers(answered: int, of: int) -> str:
    """Return two metrics that say how complete a page is."""
    return (
        "# HELP nexios_workers Workers that the command was given.\n"
        "# TYPE nexios_workers gauge\n"
        f"nexios_workers {of}.0\n"
        "# HELP nexios_workers_answered Workers whose metrics are here; the others have not answered in time.\n"
        "# TYPE nexios_workers_answered gauge\n"
        f"nexios_workers_answered {answered}.0\n"
    )
