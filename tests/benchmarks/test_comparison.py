"""What the comparison makes of what the load generator says. No load, and no server but where it says so."""

import importlib.util
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from benchmarks.comparison import Comparison, Load, Run, compare, plan
from benchmarks.machine import Missing, build, processors
from benchmarks.report import aligned, growth, plot, print_report, sharing, table
from benchmarks.servers import SERVERS, Kit, Server, session
from benchmarks.workloads import WORKLOADS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BY_NAME = {server.name: server for server in SERVERS}
F100, F1000 = (next(one for one in WORKLOADS if one.name == name) for name in ("f100", "f1000"))
SEEN = {
    "rate": 1000.0,
    "cpu_us": 4.0,
    "parent_us": 0.0,
    "p50_us": 100.0,
    "p99_us": 2000.0,
    "kib": 20.0,
    "wrong": 0,
    "lost": 0,
}
LISTEN = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); "


@pytest.fixture
def kit(tmp_path):
    return Kit(None, tmp_path, processors()[1])


def listening(more="time.sleep(60)"):
    """A server that listens, and that is all."""
    return Server("dummy", "a server", lambda kit, port: [sys.executable, "-c", LISTEN + more, str(port)], is_ours=True)


def load_that(program):
    return Load([sys.executable, "-c", program], processors()[0], is_alone=False)


def compared(*costs):
    """A comparison in which each server of (name, CPU for f100, for f1000) had three rounds, the middle one true."""
    comparison = Comparison()
    for name, *each in costs:
        for workload, cost in zip((F100, F1000), each, strict=True):
            for factor in (0.5, 1.0, 9.0):
                comparison.add(name, workload, {**SEEN, "cpu_us": cost * factor, "rate": 1e6 / cost})
    return comparison


def cells(text):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]


def test_ratios_are_those_of_medians():
    comparison = compared(("runner", 5.0, 5.5), ("nexios", 10.0, 12.1))
    rows = cells(table(comparison, F1000, [BY_NAME["runner"], BY_NAME["nexios"], BY_NAME["limit"]]))
    assert rows[0] == [
        "server",
        "messages/s",
        "CPU µs",
        "the parent's",
        "p50 ms",
        "p99 ms",
        "KiB each",
        "/ nexios",
        "/ limit",
    ]
    assert rows[2] == ["runner", "181,818", "5.50", "0.00", "0.10", "2.00", "20.0", "2.20 (2.20)", "-"]
    assert rows[3][-2] == "1.00 (1.00)"
    assert len(rows) == 4  # none for the one that was not measured


def test_a_figure_that_one_round_lacks_is_not_shown():
    comparison = Comparison()
    comparison.add("runner", F100, SEEN)
    comparison.add("runner", F100, {key: value for key, value in SEEN.items() if key != "p50_us"})
    assert cells(table(comparison, F100, [BY_NAME["runner"]]))[2][4:6] == ["-", "2.00"]


def test_growth_is_from_the_smallest_group():
    rows = cells(growth(compared(("runner", 5.0, 5.5)), [BY_NAME["runner"]]))
    assert rows[0] == ["server", "100 members", "1,000 members"]
    assert rows[2] == ["runner", "1.00", "1.10"]
    assert growth(Comparison(), SERVERS) is None


@pytest.mark.parametrize(
    ("server", "words"), [("workers", "workers, a parent"), ("nodes", "nodes, a Valkey server")], ids=["hub", "redis"]
)
def test_several_processes_cost_what_they_do_and_what_they_share_beside_it(server, words):
    comparison = compared(("runner", 5.0, 4.0))
    assert sharing(comparison) is None
    for factor in (0.5, 1.0, 9.0):
        comparison.add(server, F1000, {**SEEN, "cpu_us": 5.4 * factor, "parent_us": 0.4 * factor})
    assert cells(sharing(comparison))[2:] == [["f1000", words, "1.25", "0.10"]]


def test_columns_are_aligned():
    assert aligned([["a", "long head"], ["long cell", "b"]]).splitlines() == [
        "| a         | long head |",
        "| --------- | --------: |",
        "| long cell |         b |",
    ]


def test_the_plot_is_drawn_where_there_is_something_to_draw_and_to_draw_with(tmp_path, monkeypatch, capsys):
    path = tmp_path / "cost.svg"
    assert not plot(Comparison(), SERVERS, path)
    comparison = compared(("runner", 5.0, 5.5), ("nexios", 10.0, 12.1))
    is_here = importlib.util.find_spec("matplotlib") is not None
    assert plot(comparison, SERVERS, path) == path.exists() == is_here
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not plot(comparison, SERVERS, path)
    assert "pip install 'nexios-trio[plots]'" in capsys.readouterr().out


@pytest.mark.parametrize(("change", "problem"), [({"wrong": 3}, "3 messages"), ({"lost": 1}, "1 connections")])
def test_a_run_with_losses_is_no_measurement(change, problem, capsys):
    comparison = Comparison()
    comparison.add("runner", F100, {**SEEN, **change})
    assert comparison.median("runner", "f100") is None
    print_report(comparison, WORKLOADS, SERVERS)
    assert f"FAILED  runner, f100: {problem}" in capsys.readouterr().out


def test_every_round_has_everybody_in_another_order():
    runs = plan(SERVERS, WORKLOADS, 3)
    f100 = [run.server.name for run in runs if run.workload.name == "f100"]
    rounds = [f100[start : start + len(SERVERS)] for start in range(0, len(f100), len(SERVERS))]
    assert [sorted(names) for names in rounds] == [sorted(BY_NAME)] * 3
    assert len({tuple(names) for names in rounds}) == 3
    idle = [run.server.name for run in runs if run.workload.name == "idle10k"]
    assert sorted(idle) == ["asgi", "nodes", "runner", "takeover", "workers"]


def test_a_run_asks_the_load_generator_about_the_servers_processes(kit):
    program = "import json, sys; print(json.dumps({'wrong': 0, 'lost': 0, 'pids': sys.argv[-1], 'mode': sys.argv[1]}))"
    told, comparison = [], Comparison()
    forking = listening("import subprocess; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])")
    compare(comparison, [Run(forking, F100)], kit, load_that(program), tell=told.append)
    assert comparison.problems == []
    (seen,) = comparison.seen["dummy", "f100"]
    assert seen["mode"] == "fanout"
    pids = [int(pid) for pid in seen["pids"].removeprefix("pids=").split(",")]
    assert len(pids) == 2
    assert session(pids[0]) == set()  # the child was killed too
    assert [run.server.name for run in told] == ["dummy"]


ENDING = Server("dummy", "a server", lambda kit, port: [sys.executable, "-c", "import sys; sys.exit(3)"])


@pytest.mark.parametrize(
    ("server", "load", "problem"),
    [
        (listening(), "import sys; sys.exit('the handshake was answered with: 404')", "answered with: 404"),
        (listening(), "import sys; sys.exit(9)", "the load generator ended with 9"),
        (ENDING, "", "it ended with status 3"),
        (BY_NAME["nexios"], "", "the peers are not installed"),
    ],
    ids=["a bad answer", "a silent end", "a server that ends", "no peers"],
)
def test_what_fails_is_reported_and_the_rest_goes_on(server, load, problem, kit):
    comparison = Comparison()
    compare(comparison, [Run(server, F100)] * 2, kit, load_that(load))
    assert [problem in text for text in comparison.problems] == [True, True]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_server_behind(number, tmp_path):
    program = """
        import signal, sys, time
        from pathlib import Path
        from benchmarks.__main__ import terminated
        from benchmarks.servers import Kit, serving
        from tests.benchmarks.test_comparison import listening

        signal.signal(signal.SIGTERM, terminated)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with serving(listening(), Kit(None, Path(), 0)) as running:
            print(running.process.pid, flush=True)
            time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        leader = int(process.stdout.readline())
        assert session(leader) == {leader}
        process.send_signal(number)
        assert process.wait(20) != 0
    assert session(leader) == set()


def test_without_a_compiler_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(Missing, match="apt-get install gcc"):
        build("load", tmp_path / "empty")
