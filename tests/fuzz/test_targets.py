"""The fuzz targets: on the stored corpus, on what Hypothesis makes of it, and for a moment guided by coverage."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.targets import TARGETS

PROJECT = Path(__file__).parents[2]
CORPUS = PROJECT / "fuzz" / "corpus"
SEEDS = {name: sorted((CORPUS / name).iterdir()) for name in TARGETS}


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_breaks_no_promise(name):
    assert SEEDS[name]
    for seed in SEEDS[name]:
        TARGETS[name](seed.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
@given(st.data())
def test_mutated_seeds_break_none(name, data):
    seeds = [seed.read_bytes() for seed in SEEDS[name]]
    parts = data.draw(st.lists(st.sampled_from(seeds) | st.binary(max_size=64), min_size=1, max_size=4))
    text = bytearray(b"".join(parts)[:4096])
    for _ in range(data.draw(st.integers(0, 4))):
        if text:
            text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    TARGETS[name](bytes(text))


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_moment_of_fuzzing_finds_nothing(name, tmp_path):
    command = [sys.executable, "-m", "fuzz", name, "--seconds", "2", "--found", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
    assert list(tmp_path.iterdir()) == []
