"""The micro-benchmarks run, at sizes at which nothing can be learnt."""

import attrs
import pytest

from benchmarks.micro import PATHS, curves, table


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_what_a_path_leaves_behind_is_as_it_was(path):
    """Or the second round would measure something else than the first."""
    work = path.prepare(20)
    assert work.count > 0
    for _ in range(3):
        work.run()


def test_the_table_has_growth_from_the_smallest_size():
    tiny = [attrs.evolve(path, sizes=path.sizes[:1]) for path in PATHS[:2]]
    measured = curves(tiny, rounds=1)
    assert [list(costs) for costs in measured.values()] == [[100], [100]]
    lines = table({"a path": {10: 1e-6, 1000: 2.5e-6}, "another": {1: 3e-6}}).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["a path", "1.00 µs", "10: 1.00", "1,000: 2.50"]
    assert [cell.strip() for cell in lines[3].split("|")[1:-1]] == ["another", "3.00 µs", "1: 1.00", ""]
