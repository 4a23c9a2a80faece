"""The parts of `make cost` that need no valgrind: what is made of counts, and what the clients do."""

import contextlib
import subprocess
import sys

import attrs
import pytest

from benchmarks.cost import __main__ as command
from benchmarks.cost import callgrind, servers, workloads
from benchmarks.cost.callgrind import CountedServer, parse_status, require_valgrind, thread_states
from benchmarks.cost.client import Client, encode_frame
from benchmarks.cost.table import Change, Row, Table, changes, median, other_versions, over, show, spread
from benchmarks.cost.workloads import WORKLOADS, mean_of_part
from benchmarks.machine import Missing, processors
from benchmarks.servers import Kit, serving

TITLES = {"echo": "lone echo", "connect": "connect and close"}
STATUS = "1 thread(s) running.\nexecuted-bbs: 330\nevents: Ir\nevents-1: 1152\nframes-1: 2\nevents-1-1: 15\n"


def table(versions=(("python", "3.11.7"),), **counts):
    """A row for each server, with the counts that are given for it."""
    return Table({name: Row(row, "2026-11-27", dict(versions)) for name, row in counts.items()})


def test_a_status_has_a_count_for_each_thread():
    assert parse_status(STATUS) == 1152
    assert parse_status(STATUS + "events-2: 48\n") == 1200
    with pytest.raises(RuntimeError, match="names no count: 'Cannot acquire lock.'"):
        parse_status("Cannot acquire lock.\n")


def test_without_valgrind_it_is_said_what_to_install(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Missing, match="valgrind and vgdb not found.*make system"):
        require_valgrind()
    assert command.main(["--only", "ours"]) == 1
    assert "make system" in capsys.readouterr().err


def test_the_chosen_part_of_the_sorted_slices_counts():
    totals = [0, 10, 20, 130, 140, 151]  # slices of 10, 10, 110, 10, 11
    assert mean_of_part(totals, (0.0, 0.2)) == 10
    assert mean_of_part(totals, (0.0, 1.0)) == 151 / 5
    assert mean_of_part(totals, (0.2, 0.8)) == 31 / 3
    assert mean_of_part([0, 7], (0.0, 0.2)) == 7  # one at least


def test_changes_are_of_what_both_tables_have():
    kept = table(runner={"echo": 100.0, "connect": 1000.0}, gone={"echo": 1.0})
    now = table(runner={"echo": 103.0, "delivery": 5.0}, new={"echo": 1.0})
    assert changes(now, kept) == [Change("runner", "echo", pytest.approx(3.0))]
    assert over(changes(now, kept), 2.0) == ["runner, echo: +3.0 %"]
    assert over(changes(now, kept), 4.0) == []


def test_a_table_shows_counts_and_changes():
    kept = table(runner={"echo": 2000.0})
    now = table(runner={"echo": 1000.0}, picows={"connect": 7.4})
    lines = show(now, TITLES, changes(now, kept)).splitlines()
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in [lines[0], *lines[2:]]] == [
        ["server", "lone echo", "connect and close"],
        ["runner", "1,000 (-50.0 %)", "-"],
        ["picows", "-", "7"],
    ]


def test_other_versions_are_named():
    kept, now = table(runner={"echo": 1.0}), table([("python", "3.12.1")], runner={"echo": 1.0})
    assert other_versions(kept, kept) == []
    assert other_versions(now, kept) == ["runner: kept with python 3.11.7; now python 3.12.1"]


def test_of_several_rounds_the_middle_one_counts_and_the_spread_is_known():
    rounds = [table(runner={"echo": count}) for count in (100.0, 104.0, 101.0)]
    assert median(rounds).rows["runner"].counts == {"echo": 101.0}
    assert spread(rounds) == [Change("runner", "echo", pytest.approx(4.0))]
    rounds.append(table())  # a round in which it failed
    assert median(rounds).rows["runner"].counts == {"echo": 101.0}


def test_a_table_is_kept_and_only_replaced_where_there_is_something_newer(tmp_path):
    path = tmp_path / "table.json"
    assert Table.load(path) == Table()
    table(runner={"echo": 1.4, "connect": 2.0}, picows={"echo": 3.0}).save(path)
    kept = Table.load(path)
    assert kept.rows["runner"].counts == {"echo": 1, "connect": 2}
    kept.merge(table([("python", "3.12.1")], runner={"echo": 9.0}))
    assert kept.rows["runner"].counts == {"echo": 9.0, "connect": 2}
    assert kept.rows["runner"].versions == {"python": "3.12.1"}
    assert kept.rows["picows"].counts == {"echo": 3}


@pytest.mark.parametrize("text", ["", "[]", '{"runner": {"counts": {}}}', '{"runner": 3}'])
def test_what_is_no_table_is_refused_by_name(text, tmp_path, capsys, monkeypatch):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other.json is not a table that `make cost` has written"):
        Table.load(path)
    monkeypatch.setattr(command, "require_valgrind", lambda: None)
    assert command.main(["--against", str(path)]) == 1
    assert "other.json is not a table" in capsys.readouterr().err


def test_the_kept_table_is_of_these_servers_and_workloads():
    kept = Table.load(command.KEPT)
    assert list(kept.rows) == [server.name for server in servers.counted()]
    for name, row in kept.rows.items():
        assert set(row.counts) == {one.name for one in WORKLOADS if name in servers.OURS or not one.is_ours}


@pytest.mark.parametrize(
    "arguments", [["--only", "nobody"], ["-w", "nothing"], ["--repeat", "0"], ["--limit", "2"]], ids=lambda one: one[0]
)
def test_nonsense_is_refused_before_anything_starts(arguments, capsys):
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert "error: " in capsys.readouterr().err


def test_the_command_counts_reports_keeps_and_compares(monkeypatch, tmp_path, capsys):
    echo = iter([100.0, 102.0, 101.0, 104.0])

    def row(server, chosen, kit):
        if server.name != "runner":
            raise RuntimeError("it does not start")
        return Row({"echo": next(echo)}, "2026-11-27", {"python": "3.11.7"})

    monkeypatch.setattr(command, "require_valgrind", lambda: None)
    monkeypatch.setattr(command, "KEPT", tmp_path / "table.json")
    monkeypatch.setattr(command, "_row", row)
    assert command.main(["--only", "runner|asgi", "--repeat", "3", "--write"]) == 1
    assert "FAILED  asgi: it does not start" in capsys.readouterr().out
    assert Table.load(tmp_path / "table.json").rows["runner"].counts == {"echo": 101}
    against = ["--only", "runner", "--against", str(tmp_path / "table.json")]
    assert command.main([*against, "--limit", "2"]) == 1
    said = capsys.readouterr().out
    assert "104 (+3.0 %)" in said
    assert "FAILED  runner, echo: +3.0 %" in said


def test_our_lanes_can_be_counted_with_metrics(capsys):
    kit = Kit("python", None, 1)
    lane = servers.with_metrics(next(server for server in servers.counted() if server.name == "runner"))
    assert servers.WITH_METRICS in lane.command(kit, 80)
    assert servers.APP not in lane.command(kit, 80)
    with pytest.raises(SystemExit):
        command.main(["--metrics", "--write"])
    assert "--write does not go with --metrics" in capsys.readouterr().err


def test_lanes_of_ours_run_in_the_process_that_is_counted():
    kit = Kit(None, command.KEPT.parent, 0)
    lanes = {server.name: server.command(kit, 80) for server in servers.counted() if server.is_ours}
    assert lanes["runner"][:4] == [sys.executable, "-m", "benchmarks.cost.launch", "nexios_trio.cli"]
    assert lanes["takeover"][3:6] == ["hypercorn", "--workers", "0"]
    with pytest.raises(ValueError, match="is started as PYTHON -m MODULE, not as 'python app.py'"):
        servers.launched(["python", "app.py"])


def test_over_tls_the_counts_depend_on_openssl_too():
    [lane] = [server for server in servers.counted() if server.is_tls]
    assert list(servers.versions(lane, Kit(None, command.KEPT.parent, 0))) == ["python", "trio", "openssl"]
    assert "--certfile" in lane.command(Kit(None, command.KEPT.parent, 0), 80)


def test_nobody_is_pinged_meanwhile():
    kit = Kit(command.KEPT, command.KEPT.parent, 0)  # any file, in place of the peers' Python
    for server in servers.counted():
        if server.is_ours:
            assert server.environment["NEXIOS_PING_INTERVAL"] == "inf"
        elif server.name in ("starlette", "nexios"):
            assert "--ws-ping-interval" in server.command(kit, 80)


def test_versions_are_of_what_the_counts_depend_on():
    runner = next(server for server in servers.counted() if server.name == "runner")
    assert list(servers.versions(runner, Kit(None, command.KEPT.parent, 0))) == ["python", "trio"]


@pytest.mark.parametrize(
    ("size", "length"), [(0, b"\x80"), (125, b"\xfd"), (126, b"\xfe\x00\x7e"), (65535, b"\xfe\xff\xff")]
)
def test_a_frame_is_masked(size, length):
    head = b"\x81" + length + b"\1\2\3\4"
    frame = encode_frame(b"x" * size)
    assert frame[: len(head)] == head
    masked = frame[len(head) :]
    assert bytes(byte ^ head[-4 + at % 4] for at, byte in enumerate(masked)) == b"x" * size


def test_a_frame_has_its_bound():
    with pytest.raises(ValueError, match="65536 bytes are too many"):
        encode_frame(b"x" * 65536)


@pytest.mark.parametrize("command_line", ["import time; time.sleep(60)"])
def test_a_server_is_held_and_goes_on(command_line):
    process = subprocess.Popen([sys.executable, "-c", command_line])
    server = CountedServer(attrs.make_class("Running", {"process": attrs.field()})(process), "")
    try:
        with server.held():
            assert thread_states(process.pid) == {"T"}
        server.wait_until_at_rest()
        assert thread_states(process.pid) == {"S"}
    finally:
        process.kill()
        process.wait()
    with pytest.raises(RuntimeError, match="the server ended with status -9"):
        server.wait_until_at_rest()


def test_a_server_that_never_rests_is_given_up(monkeypatch):
    monkeypatch.setattr(callgrind, "REST_SECONDS", 0.0)
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    server = CountedServer(attrs.make_class("Running", {"process": attrs.field()})(process), "")
    try:
        with pytest.raises(RuntimeError, match="did not come to rest"):
            server.wait_until_at_rest()
    finally:
        process.kill()
        process.wait()


class Uncounted(CountedServer):
    """Without valgrind: each count is one more."""

    counts = 0

    def _ask(self, command):
        Uncounted.counts += 1
        return f"events-1: {Uncounted.counts}\n"

    def settle(self):
        pass


@pytest.fixture(scope="module", params=["runner", "tls"])
def runner(request, tmp_path_factory):
    kit = Kit(None, tmp_path_factory.mktemp("cost"), processors()[1])
    lane = next(server for server in servers.counted() if server.name == request.param)
    with serving(lane, kit) as running:
        yield Uncounted(running, "", lane.is_tls)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_a_workload_runs_against_our_runner(workload, runner):
    tiny = attrs.evolve(workload, steps=1, slices=2, warm=1)
    assert tiny.measure(runner) == 1 / workload.units


def test_a_client_says_what_it_was_answered(runner):
    with (
        Client(runner.port, "/nowhere", tls=runner.is_tls) as client,
        pytest.raises(RuntimeError, match="answered with: HTTP/1.1 404"),
    ):
        client.finish_handshake()


def test_a_client_says_that_the_server_closed(runner):
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(workloads._connected(runner, "/echo"))
        client.send(encode_frame(b"\xff"))  # no UTF-8
        with pytest.raises(RuntimeError, match="the server closed instead of sending a message"):
            client.receive()
