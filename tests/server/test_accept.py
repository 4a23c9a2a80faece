"""How many connections there may be."""

import socket

import trio

from nexios_trio.server.accept import accept_forever


async def test_a_listener_survives_what_accept_says(caplog):
    class Listener:
        """A real descriptor that is always readable, and an accept that fails in every way."""

        def __init__(self, ready):
            self.ready = ready
            self.errors = [ConnectionAbortedError(103, "aborted"), OSError(24, "Too many open files")]

        def fileno(self):
            return self.ready.fileno()

        def accept(self):
            if self.errors:
                raise self.errors.pop(0)
            accepted.set()
            raise BlockingIOError

    accepted = trio.Event()
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.send(b"x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_forever, Listener(reader), lambda sock, peer: None)
            with trio.fail_after(5):
                await accepted.wait()
            nursery.cancel_scope.cancel()
    assert caplog.text.count("cannot accept connections: Too many open files") == 1
