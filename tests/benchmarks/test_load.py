"""The load generator and the servers that need nothing but our own environment, at sizes at which nothing can be learnt."""

import re
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import attrs
import pytest

from benchmarks.__main__ import main
from benchmarks.comparison import Comparison, Load, Run, compare
from benchmarks.machine import Missing, build, processors
from benchmarks.servers import SERVERS, Kit
from benchmarks.workloads import WORKLOADS

pytestmark = pytest.mark.slow

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
HERE = ("runner", "workers", "nodes", "takeover", "limit", "hypercorn-queues", "trio-websocket")
KINDS = [one for one in WORKLOADS if one.name in ("f100", "e32", "storm", "memory", "slow")]
TIMES = {"warm": 20, "time": 100, "stall": 500}
SIZES = {"n": 8, "stalled": 2}


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return Kit(Path(sys.executable), tmp_path_factory.mktemp("bench"), processors()[1])


def tiny(workload):
    given = {name: {**TIMES, **SIZES}.get(name, value) for name, value in workload.load.items()}
    return attrs.evolve(workload, load=given)


def seen(server, workloads, kit):
    """What the load generator sees of one server; None where there is no C compiler, which must be said."""
    if shutil.which("cc") is None:
        with pytest.raises(Missing, match="apt-get install"):
            build("load", kit.directory)
        return None
    load = Load([str(build("load", kit.directory))], processors()[0], is_alone=False)
    comparison = Comparison()
    compare(comparison, [Run(server, tiny(workload)) for workload in workloads], kit, load)
    assert comparison.problems == []
    return {workload.name: comparison.median(server.name, workload.name) for workload in workloads}


@pytest.mark.parametrize("server", [one for one in SERVERS if one.name in HERE], ids=lambda server: server.name)
def test_a_server_sends_to_the_group(server, kit):
    workload = next(one for one in WORKLOADS if one.name == "f100")
    figures = seen(server, [workload], kit)
    if figures is not None:
        assert figures["f100"]["messages"] > 0
        assert figures["f100"]["cpu_us"] > 0


@pytest.mark.parametrize("workload", KINDS, ids=lambda workload: workload.name)
def test_every_figure_of_a_table_is_seen(workload, kit):
    limit = next(one for one in SERVERS if one.name == "limit")
    figures = seen(limit, [workload], kit)
    if figures is not None:
        (row,) = figures.values()
        wanted = {column.key for column in workload.columns} | {workload.cost, workload.rate} - {None}
        assert wanted <= row.keys()


def test_the_peers_are_pinned_exactly():
    pins = dict(line.split("==") for line in (PEERS / "requirements.txt").read_text().splitlines() if line[0] != "#")
    assert all(re.fullmatch(r"\d+(\.\d+)+", version) for version in pins.values())
    assert pins["hypercorn"] == version("hypercorn")  # or our lanes would be compared with another one


def test_every_peer_is_a_file_that_compiles(kit):
    used = set()
    for server in SERVERS:
        if not server.is_ours and server.name != "limit":
            used |= {word.partition(":")[0].removesuffix(".py") for word in server.command(kit, 1)}
    files = {path.stem: path for path in PEERS.glob("*.py")}
    assert files.keys() <= used
    for path in files.values():
        compile(path.read_text(), str(path), "exec")


def test_the_list_has_everything_and_a_wrong_name_is_refused(capsys):
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(one.name in listed for one in (*SERVERS, *WORKLOADS))
    with pytest.raises(SystemExit) as caught:
        main(["--servers", "no-such"])
    assert caught.value.code == 2
