"""Which of the compared servers are counted, and how each is started for that."""

import json
import subprocess
from collections.abc import Sequence
from typing import Final

import attrs

from benchmarks.machine import HERE
from benchmarks.servers import SERVERS, Kit, Server

OVER_TLS: Final = "tls"
OURS: Final = ("runner", OVER_TLS, "takeover", "asgi")
CERTIFICATES: Final = HERE.parent / "tests" / "server" / "certificates"
APP: Final = "benchmarks.app:app"
WITH_METRICS: Final = "benchmarks.app_with_metrics:app"
PEERS: Final = ("starlette", "nexios", "trio-websocket", "picows")
# On which the counts of each depend, beside Python.
PACKAGES: Final = {
    "runner": ("trio",),
    OVER_TLS: ("trio", "openssl"),
    "takeover": ("trio", "hypercorn"),
    "asgi": ("trio", "hypercorn", "wsproto", "h11"),
    "starlette": ("starlette", "uvicorn", "uvloop", "websockets"),
    "nexios": ("nexios", "uvicorn", "uvloop", "websockets"),
    "trio-websocket": ("trio-websocket", "trio", "wsproto"),
    "picows": ("picows", "uvloop"),
}
# Two hundred members have ten pings a second, which is more work than a delivery while valgrind is slow; and on a busy
# machine a client of ours does not answer in time. No pings, or none within the hour. Compression is for
# the workloads whose clients offer it.
UNDISTURBED: Final = {"NEXIOS_PING_INTERVAL": "inf", "NEXIOS_COMPRESSION": "true"}
UNDISTURBED_UVICORN: Final = ("--ws-ping-interval", "3600", "--ws-ping-timeout", "3600")
_ASK = """
import importlib.metadata, json, platform, ssl, sys
versions = {"python": platform.python_version()}
for name in sys.argv[1:]:
    versions[name] = ssl.OPENSSL_VERSION.split()[1] if name == "openssl" else importlib.metadata.version(name)
print(json.dumps(versions))
"""


def counted() -> list[Server]:
    """Return the servers, ours first."""
    by_name = {server.name: server for server in SERVERS}
    by_name[OVER_TLS] = _over_tls(by_name["runner"])
    return [_ours(by_name[name]) for name in OURS] + [_peer(by_name[name]) for name in PEERS]


def versions(server: Server, kit: Kit) -> dict[str, str]:
    """Return the versions of what its counts depend on. Raises: Missing, RuntimeError."""
    python = server.command(kit, 0)[0]
    asked = subprocess.run(
        [python, "-c", _ASK, *PACKAGES[server.name]], capture_output=True, text=True, timeout=60, check=False
    )
    if asked.returncode:
        raise RuntimeError(f"the versions are not known: {asked.stderr.strip()[-300:]}")
    found: dict[str, str] = json.loads(asked.stdout)
    return found


def launched(command: Sequence[str]) -> list[str]:
    """Return the command of one of our lanes, run by `launch`, in the process that valgrind starts."""
    if len(command) < 3 or command[1] != "-m":
        raise ValueError(f"a lane of ours is started as PYTHON -m MODULE, not as {' '.join(command)!r}")
    python, _, module, *arguments = command
    in_process = ["--workers", "0"] if module == "hypercorn" else []
    return [python, "-m", "benchmarks.cost.launch", module, *in_process, *arguments]


def with_metrics(server: Server) -> Server:
    """Return one of our lanes with metrics mounted, for which nobody asks."""

    def command(kit: Kit, port: int) -> list[str]:
        return [WITH_METRICS if word == APP else word for word in server.command(kit, port)]

    return attrs.evolve(server, command=command)


def _peer(server: Server) -> Server:
    def command(kit: Kit, port: int) -> list[str]:
        plain = server.command(kit, port)
        return [*plain, *UNDISTURBED_UVICORN] if "uvicorn" in plain else plain

    return attrs.evolve(server, command=command)


def _over_tls(server: Server) -> Server:
    files = ["--certfile", str(CERTIFICATES / "certificate.pem"), "--keyfile", str(CERTIFICATES / "key.pem")]
    return attrs.evolve(
        server,
        name=OVER_TLS,
        is_=f"{server.is_}, over TLS",
        command=lambda kit, port: [*server.command(kit, port), *files],
        is_tls=True,
    )


def _ours(server: Server) -> Server:
    return attrs.evolve(
        server,
        command=lambda kit, port: launched(server.command(kit, port)),
        environment={**server.environment, **UNDISTURBED},
    )
