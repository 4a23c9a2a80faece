"""Hypercorn's own command with several workers, each of which has groups of its own: it is said, and what to do."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

APP = """
from nexios_trio import ChannelBox, NexiosApp
from nexios_trio.testing import Broker

alone = NexiosApp()
alone.mount("/other", NexiosApp())
shared = NexiosApp(box=ChannelBox(Broker().engine()))
"""
WARNING = re.compile(
    r"hypercorn runs 2 workers, and each has groups of its own: .* `nexios-trio run --workers 2` shares the groups;"
    r" .*ChannelBox\(engine\)"
)
OURS = ("-c", "python:nexios_trio.serving.hypercorn_config")


pytestmark = pytest.mark.slow


def serve(folder: Path, *arguments: str, workers: int, takeover: bool = True) -> list[str]:
    """What hypercorn's command says of groups until all of its workers serve, and are stopped."""
    (folder / "app.py").write_text(APP)
    command = [sys.executable, "-m", "hypercorn", "-k", "trio", "-w", str(workers), "-b", "127.0.0.1:0", *arguments]
    environment = {**os.environ, "NEXIOS_TAKEOVER": str(takeover)}
    lines: list[str] = []
    with subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                lines.append(line)
                if sum("Running on" in each for each in lines) == max(workers, 1):
                    break
            process.send_signal(signal.SIGTERM)
            lines += process.communicate(timeout=60)[1].splitlines()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert sum("Running on" in line for line in lines) == max(workers, 1), lines
    return [line for line in lines if "groups" in line]


@pytest.mark.parametrize(
    ("configuration", "takeover"),
    [((), True), (OURS, True), (OURS, False)],
    ids=["its configuration", "our configuration", "without takeover"],
)
def test_each_worker_warns_once(configuration: tuple[str, ...], takeover: bool, tmp_path: Path) -> None:
    said = serve(tmp_path, *configuration, "app:alone", workers=2, takeover=takeover)
    assert len(said) == 2
    assert all(WARNING.search(line) for line in said)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_single_one_does_not(workers: int, tmp_path: Path) -> None:
    assert serve(tmp_path, "app:alone", workers=workers) == []


def test_nor_do_several_that_share_an_engine(tmp_path: Path) -> None:
    assert serve(tmp_path, "app:shared", workers=2) == []
