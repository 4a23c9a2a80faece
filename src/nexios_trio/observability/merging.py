"""The metrics of several processes as one text: each family once, with everybody's samples."""

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["merge_metrics"]

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
