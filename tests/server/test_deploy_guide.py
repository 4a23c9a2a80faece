"""The guide's unit for systemd, its Dockerfile and its pod: what they start has to start, and to stop, as they say."""

import json
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import yaml

from tests.server.processes import COMMAND, PROJECT, QUICK, command
from tests.server.support import DEADLINE, Raw, upgrade

GUIDE = (PROJECT / "docs/guides/deploy.md").read_text()
APP = "tests.server.apps:app"
OTHERS_GONE = {name: value for name, value in os.environ.items() if not name.startswith("NEXIOS_")}


def fence(language: str, mark: str) -> str:
    """The guide's code block of that language with that text in it."""
    [block] = [text for text in re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.M | re.S) if mark in text]
    return block


def entries(unit: str) -> dict[str, str]:
    """What a unit says, by key. No key comes twice."""
    pairs = [line.split("=", 1) for line in unit.splitlines() if "=" in line]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


# systemd


@asynccontextmanager
async def started(listener: socket.socket, log: Path) -> AsyncIterator[trio.Process]:
    """What the unit starts, with the socket as descriptor 3, as systemd hands it over."""
    unit = entries(fence("ini", "ExecStart"))
    program, *words = shlex.split(unit["ExecStart"])
    assert Path(program).name == COMMAND.name
    words[words.index("chat.main:app")] = APP
    variable, _, value = unit["Environment"].partition("=")
    line = shlex.join([str(COMMAND), *words, *QUICK]) + f" 3<&{listener.fileno()}"
    with log.open("ab") as errors:
        process = await trio.lowlevel.open_process(
            ["bash", "-c", f"exec {line}"],
            cwd=PROJECT,
            env={**OTHERS_GONE, variable: value},
            stdout=errors,
            stderr=errors,
            pass_fds=[listener.fileno()],
        )
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def test_systemd_hands_a_socket_over_and_a_restart_refuses_nobody(tmp_path: Path) -> None:
    path, log = tmp_path / "server.sock", tmp_path / "log"
    assert entries(fence("ini", "ListenStream"))["ListenStream"] == "/run/chat/server.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        for _ in range(2):
            async with Raw(await trio.open_unix_socket(path)) as client:
                await client.send(upgrade("/who", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"))
                async with started(listener, log) as process:  # the client waits until it serves
                    assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 "), log.read_text()
                    assert await client.frame() == (1, b'["192.0.2.1","wss"]')
                    process.send_signal(signal.SIGTERM)
                    assert await client.closed() == 1012
                    with trio.fail_after(DEADLINE):
                        assert await process.wait() == 0


# Docker and Kubernetes


async def run_python(*arguments: str) -> int:
    with trio.fail_after(DEADLINE):
        return (await trio.run_process([sys.executable, *arguments], check=False, capture_stderr=True)).returncode


def localized(words: list[str], health_port: int) -> list[str]:
    """The command's words behind `nexios-trio run chat.main:app -b ADDRESS`, on this machine."""
    assert words[:4] == ["nexios-trio", "run", "chat.main:app", "-b"]
    assert words[4].endswith(":8000")
    return [re.sub(r"^[\d.]+:9000$", f"127.0.0.1:{health_port}", word) for word in words[5:]]


async def test_the_container_s_command_and_its_health_check(tmp_path: Path, unused_port: int) -> None:
    dockerfile = fence("docker", "FROM")
    [[*words], [python, *check]] = (
        json.loads(line.partition("CMD ")[2]) for line in sorted(dockerfile.splitlines()) if "CMD " in line
    )
    assert python == "python"
    check = [word.replace(":9000/", f":{unused_port}/") for word in check]
    assert await run_python(*check) != 0
    async with command(tmp_path / "log", APP, *QUICK, *localized(words, unused_port)) as server:
        assert await run_python(*check) == 0
        async with await server.connect() as client:
            await client.handshake()
            server.signal()
            assert await client.closed() == 1012
        assert await server.status() == 0
        assert [json.loads(line)["level"] for line in server.log.splitlines()]


def test_the_dockerfile_has_nothing_but_instructions() -> None:
    lines = fence("docker", "FROM").splitlines()
    known = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "HEALTHCHECK", "CMD"}
    words = [line.split(maxsplit=1)[0] for line in lines]
    assert set(words) <= known
    assert (words[0], words[-1], words.count("CMD")) == ("FROM", "CMD", 1)
    user = next(line.split()[1] for line in lines if line.startswith("USER "))
    assert f"RUN useradd --system {user}" in lines[: words.index("USER")]
    assert "COPY requirements.txt ." in lines[: words.index("RUN")]


async def test_the_pod_s_command_and_its_probes(tmp_path: Path, unused_port: int) -> None:
    deployment: Any = yaml.safe_load(fence("yaml", "kind: Deployment"))
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8000, "health": 9000}
    words = localized(container["args"], unused_port)
    async with command(tmp_path / "log", APP, *QUICK, *words):
        for probe in ("readinessProbe", "livenessProbe"):
            asked = container[probe]["httpGet"]
            assert asked["port"] == "health"
            async with Raw(await trio.open_tcp_stream("127.0.0.1", unused_port)) as client:
                await client.send(f"GET {asked['path']} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
                assert (await client.rest()).startswith(b"HTTP/1.1 200"), probe
    names = [variable["name"] for variable in container["env"]]
    assert [name for name in names if not name.startswith("NEXIOS_")] == []
    assert pod["terminationGracePeriodSeconds"] > 10 + container["lifecycle"]["preStop"]["sleep"]["seconds"]


@pytest.mark.parametrize("unit", ["ListenStream", "ExecStart"])
def test_a_unit_has_what_it_needs(unit: str) -> None:
    """As `systemd-analyze verify` would find, where there is one."""
    sections = re.findall(r"^\[(\w+)\]$", fence("ini", unit), re.M)
    assert sections == (["Socket", "Install"] if unit == "ListenStream" else ["Unit", "Service", "Install"])
