"""A day of the chat: 1,000 clients, 24 virtual hours, a restart and a crash, three times the same to the bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.chat.day import day
from nexios_trio.testing import run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SEED = 7


def live_elsewhere(hash_seed: int) -> subprocess.Popen[str]:
    """The same day in another process, where sets and dicts of strings are in another order."""
    command = [sys.executable, "-m", "examples.chat.day", str(SEED)]
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def test_a_thousand_people_live_the_same_day_three_times():
    with live_elsewhere(1) as second, live_elsewhere(2) as third:
        first = run(day, SEED, seed=SEED)
        outputs = [process.communicate(timeout=250)[0] for process in (second, third)]
    assert [output.splitlines()[0] for output in outputs] == [f"seed 7: {first.events} events, hash {first.hash}"] * 2

    seen = first.seen
    assert seen["visits"] > 1500
    assert seen["most at once"] > 500
    assert min(seen["lost"], seen["stalled"], seen["cut off"]) > 50
    assert seen["ended with 1012"] > 300, "the restart told those who were there"
    assert seen["ended with 1006"] > 20, "the crash told nobody"
    assert seen["ended with 1001"] > 100, "who said nothing for an hour was sent away"


def test_another_seed_is_another_day():
    assert run(day, 1, 20, seed=1).hash == run(day, 1, 20, seed=1).hash != run(day, 2, 20, seed=2).hash
