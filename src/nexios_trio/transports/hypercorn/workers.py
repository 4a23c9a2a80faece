"""The workers of hypercorn's own command, which know nothing of each other."""

import logging
import multiprocessing
from typing import Any

__all__ = ["count_workers", "warn_of_separate_groups"]

logger = logging.getLogger("nexios_trio.workers")

_has_warned: list[bool] = []  # once per process, however many applications there are


def count_workers() -> int:
    """Return how many workers hypercorn runs, where this process is one of them; otherwise 1.

    Its command starts each of them with `multiprocessing`, and hands it its configuration.
    """
    process: Any = multiprocessing.current_process()
    work = getattr(process, "_target", None)
    config = getattr(process, "_kwargs", {}).get("config")
    if config is None or not str(getattr(work, "__module__", "")).startswith("hypercorn."):
        return 1
    return int(getattr(config, "workers", 1))


def warn_of_separate_groups() -> None:
    """Warn, once, where hypercorn runs several workers, for an application whose engine is that of one process."""
    if _has_warned:
        return
    workers = count_workers()
    if workers > 1:
        _has_warned.append(True)
        logger.warning(
            "hypercorn runs %d workers, and each has groups of its own: a group send reaches the members in one of"
            " them. `nexios-trio run --workers %d` shares the groups; so does an engine that reaches all workers, as"
            " in NexiosApp(box=ChannelBox(engine))",
            workers,
            workers,
        )
