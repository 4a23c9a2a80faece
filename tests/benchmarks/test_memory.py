"""What an idle connection holds is found, and adds up."""

from benchmarks.__main__ import main
from benchmarks.memory import Holding, Kind, held, table


def test_the_objects_of_a_connection_are_found():
    found = held(connections=30)
    each = {kind.name: kind.each for kind in found.kinds}
    assert found.allocated <= 11 * 1024
    for name in ("Session", "DirectTransport", "Task", "coroutine echo"):
        assert 0.9 < each[name] <= 1.0  # the last one to connect may not have all of it yet
    assert found.kinds == sorted(found.kinds, key=lambda kind: -kind.size)
    assert 0.8 < sum(kind.size for kind in found.kinds) / found.allocated < 1.2


def test_one_with_a_synchronous_consumer_has_no_task():
    found = held("/sync", connections=30)
    each = {kind.name: kind.each for kind in found.kinds}
    assert 0.9 < each["Session"] <= 1.0
    assert not [name for name in each if name.startswith(("Task", "coroutine")) and each[name] > 0.5]
    assert found.allocated <= 6 * 1024


def test_the_table_has_the_sum():
    shown = table(Holding([Kind("dict", 2.0, 400.0), Kind("Task", 1.0, 1200.0)], 2000.0))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines()]
    assert rows[2:4] == [["dict", "2.0", "400"], ["Task", "1.0", "1,200"]]
    assert rows[4:] == [["found", "", "1,600"], ["allocated", "", "2,000"]]


def test_it_has_a_command(capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.memory.CONNECTIONS", 5)
    assert main(["memory"]) == 0
    assert "coroutine echo" in capsys.readouterr().out
