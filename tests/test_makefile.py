"""What needs root: named, installed by root after one line, and otherwise refused in the first second.

The scripts run with a PATH on which things are missing; `apt-get` and `id` are ours, so nothing is installed.
"""

import re
import shutil
import subprocess
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("bash", "sh", "env", "dirname", "rm", "chmod", "touch", "mkdir", "make")
FAKE_APT = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/apt.log"
case $1 in install) "$POLICY"; [ $? = 101 ] || exit 1  # nothing may start a server meanwhile
    for package; do case $package in valgrind|chromium) : > "$(dirname "$0")/$package"
    chmod +x "$(dirname "$0")/$package" ;; esac; done ;; esac
"""


@attrs.frozen
class Machine:
    """A directory that is the whole PATH."""

    bin: Path

    def has(self, name: str, script: str = "#!/bin/sh\n") -> None:
        program = self.bin / name
        program.write_text(script)
        program.chmod(0o755)

    def run(self, *command: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), "POLICY": str(self.bin / "policy-rc.d"), **variables}
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)

    def apt(self) -> list[str]:
        log = self.bin / "apt.log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Somebody who is not root, on a machine with make and a shell and nothing else."""
    made = Machine(tmp_path / "bin")
    made.bin.mkdir()
    for tool in TOOLS:
        (made.bin / tool).symlink_to(shutil.which(tool) or tool)
    made.has("id", "#!/bin/sh\necho 1000\n")
    made.has("apt-get", FAKE_APT)
    return made


def be_root(machine: Machine) -> None:
    machine.has("id", "#!/bin/sh\necho 0\n")


def system(machine: Machine, *purposes: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return machine.run("bash", ".ci/system", *purposes, **variables)


def test_nothing_is_said_or_done_when_all_is_there(machine: Machine) -> None:
    be_root(machine)
    machine.has("chromium")
    machine.has("valgrind")
    done = system(machine, "browser", "cost")
    assert (done.returncode, done.stdout, done.stderr, machine.apt()) == (0, "", "", [])


def test_who_is_not_root_is_told_all_that_is_missing_and_the_command(machine: Machine) -> None:
    done = system(machine, "browser", "cost")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "missing" in done.stderr
    assert "make system" in done.stderr
    assert "apt-get install chromium valgrind" in done.stderr
    assert machine.apt() == []


def test_only_what_is_missing_is_named(machine: Machine) -> None:
    machine.has("chromium")
    assert "apt-get install valgrind\n" in system(machine, "browser", "cost").stderr


def test_root_that_forbids_it_is_told_too(machine: Machine) -> None:
    be_root(machine)
    done = system(machine, "browser", SYSTEM="no")
    assert done.returncode == 1
    assert "SYSTEM=no" in done.stderr
    assert "apt-get install chromium" in done.stderr
    assert machine.apt() == []


def test_root_without_apt_is_told_too(machine: Machine) -> None:
    be_root(machine)
    (machine.bin / "apt-get").unlink()
    done = system(machine, "browser")
    assert (done.returncode, "chromium" in done.stderr) == (1, True)


def test_root_installs_what_is_missing_after_one_line(machine: Machine) -> None:
    be_root(machine)
    done = system(machine, "browser", "cost")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Installing with apt-get: chromium valgrind (SYSTEM=no to forbid it)\n"
    update, install = machine.apt()
    assert update.startswith("update")
    assert install.endswith("chromium valgrind")
    assert not (machine.bin / "policy-rc.d").exists()
    assert system(machine, "browser", "cost").stdout == ""


def test_an_installation_that_does_not_help_fails(machine: Machine) -> None:
    be_root(machine)
    machine.has("apt-get", "#!/bin/sh\n")
    done = system(machine, "cost")
    assert done.returncode == 1
    assert "still missing" in done.stderr
    assert "valgrind" in done.stderr


def test_an_installation_that_fails_fails(machine: Machine) -> None:
    be_root(machine)
    machine.has("apt-get", "#!/bin/sh\nexit 100\n")
    assert system(machine, "cost").returncode == 100


def test_a_python_without_venv_is_named(machine: Machine) -> None:
    machine.has("python3", "#!/bin/sh\nexit 1\n")
    assert "python3-venv" in system(machine, "venv").stderr
    machine.has("python3")
    assert system(machine, "venv").returncode == 0


def test_an_unknown_purpose_is_refused_by_name(machine: Machine) -> None:
    done = system(machine, "browser", "browsers")
    assert done.returncode == 2
    assert "no purpose browsers" in done.stderr
    assert "venv, browser, proxy, node, cost" in done.stderr


@pytest.mark.parametrize("variables", [{}, {"SYSTEM": "no"}], ids=["not root", "SYSTEM=no"])
def test_make_test_asks_first(machine: Machine, tmp_path: Path, variables: dict[str, str]) -> None:
    """In a directory with the Makefile alone, where anything but the question would fail otherwise."""
    if variables:
        be_root(machine)
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    done = machine.run("make", "test", *(f"{name}={value}" for name, value in variables.items()), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: missing")
    assert "chromium" in done.stderr
    assert machine.apt() == []
    assert not (tmp_path / ".venv").exists()


def test_make_test_does_not_ask_for_what_it_does_not_need() -> None:
    text = (ROOT / "Makefile").read_text()
    asked = re.search(r"^needed:.*\n\t(.*)$", text, re.MULTILINE)
    everything = re.search(r"^system:.*\n\t(.*)$", text, re.MULTILINE)
    assert asked is not None
    assert everything is not None
    assert asked[1].endswith("browser proxy node")
    assert everything[1].endswith("venv browser proxy node cost")
