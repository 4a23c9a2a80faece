"""What the measurements need of the machine: processors of their own, many descriptors, a C compiler."""

import os
import platform
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
FLAGS: Final = ("-std=gnu11", "-O2", "-Wall", "-Wextra")


class Missing(Exception):
    """Something is not here; the text says what, and how to get it."""


def build(name: str, directory: Path) -> Path:
    """`native/NAME.c`, compiled. Raises: Missing without a C compiler."""
    sources = sorted((HERE / "native").glob("*.[ch]"))
    program = directory / name
    if program.exists() and program.stat().st_mtime >= max(source.stat().st_mtime for source in sources):
        return program
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise Missing(
            "the load generator is written in C, and there is no C compiler: install one (apt-get install gcc), "
            "or say in CC where it is"
        )
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run([compiler, *FLAGS, "-o", str(program), str(HERE / "native" / f"{name}.c")], check=True, timeout=60)
    return program


def processors() -> tuple[int, int]:
    """One for the load and one for the server; the same one where there is no other."""
    ours = sorted(os.sched_getaffinity(0))
    return ours[0], ours[-1]


@contextmanager
def pinned(processor: int) -> Iterator[None]:
    """What is started in the block runs on that processor."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {processor})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def allow_descriptors() -> int:
    """As many as we may have, for us and for what we start. Returns how many that are."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def raise_descriptors(needed: int) -> int:
    """Have at least as many as are needed, for us and for what we start: root may raise its limit. Returns how many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < needed:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, needed))
        except (OSError, ValueError):
            return allow_descriptors()
    return allow_descriptors()


def description() -> str:
    """For the top of a report."""
    load, server = processors()
    where = f"server on processor {server}, load on {load}" if load != server else "server and load on one processor"
    return f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} processors ({where})"
