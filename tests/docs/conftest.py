"""The documentation, built: by `make docs`, which `make test` begins with, or else here."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ["docs", "src/nexios_trio", "examples", "changes", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/cost"]


def files() -> Iterator[Path]:
    for source in SOURCES:
        path = ROOT / source
        if path.is_file():
            yield path
        for folder, folders, names in os.walk(path):
            folders[:] = [name for name in folders if name not in ("_build", "__pycache__")]
            yield from (Path(folder, name) for name in names)


@pytest.fixture(scope="session")
def html() -> Path:
    """The folder of the pages. Several processes may ask; one builds."""
    build = ROOT / "docs/_build"
    build.mkdir(exist_ok=True)
    with (build / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = build / "html/searchindex.js"
        if not stamp.exists() or stamp.stat().st_mtime < max(path.stat().st_mtime for path in files()):
            folders = ["-d", "docs/_build/doctrees", "docs", "docs/_build/html"]
            sphinx = [sys.executable, "-m", "sphinx", "-q", "-E", "-W", "--keep-going", "-b", "html", *folders]
            done = subprocess.run(sphinx, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    return build / "html"
