"""What the tests of the runner share."""

import socket

import pytest


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on: the kernel has just handed it out."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
