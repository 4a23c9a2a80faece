"""How many connections at rest one process of the runner bears, and what they cost.

They come from many addresses of this host, are members of one group, and answer pings. Then nothing happens for a
while. Then messages are sent to all of them, while one more client measures how long its echoes take. Server and load
have a processor each, where there are two.
"""

import argparse
import multiprocessing
import multiprocessing.connection
import os
import select
import signal
import socket
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import attrs

from .__main__ import terminated
from .cost.client import HANDSHAKE, PING, PONG, TEXT, Client, encode_frame
from .machine import Missing, description, pinned, processors, raise_descriptors
from .servers import SERVERS, Kit, Running, serving

CONNECTIONS: Final = 100_000
REST_SECONDS: Final = 120.0
SENDS: Final = 10  # messages to all
ARRIVING: Final = 200  # connections on their way at a time
SPARE: Final = 500  # descriptors beside the connections
PATIENCE: Final = 60.0  # seconds without progress
ADDRESSES: Final = 250
BIND_ADDRESS_NO_PORT: Final = 24  # of Linux: the port is chosen at connect, so that one address has all ports
TICKS: Final = os.sysconf("SC_CLK_TCK")
PAGE: Final = os.sysconf("SC_PAGE_SIZE")

Say = Callable[[str], object]


@attrs.define
class Figures:
    """What was seen. Times in seconds, memory in bytes."""

    connections: int = 0
    arrival: float = 0.0
    memory: int = 0  # of the server, for all connections
    rest: float = 0.0
    processor: float = 0.0  # time of the server's during `rest`
    pings: int = 0
    lost: int = 0
    sends: list[float] = attrs.field(factory=list)  # from a message to the last member's having it
    echoes: list[float] = attrs.field(factory=list)

    def rows(self) -> list[str]:
        share = 100 * self.processor / self.rest
        found = [
            f"{self.connections:,} connections, made in {self.arrival:.0f} s",
            f"memory        {self.memory / 2**20:,.0f} MiB, {self.memory / 1024 / self.connections:.1f} KiB each",
            f"at rest       {share:.1f} % of a processor for {self.rest:.0f} s, {self.pings:,} pings answered",
            f"lost          {self.lost}",
        ]
        if self.sends:
            found.append(f"to all        {statistics.median(self.sends):.2f} s, {max(self.sends):.2f} s at most")
        if self.echoes:
            echoes = sorted(self.echoes)
            middle, late = echoes[len(echoes) // 2], echoes[len(echoes) * 99 // 100]
            found.append(
                f"echoes        {len(echoes):,} meanwhile: median {1000 * middle:.1f} ms, p99 {1000 * late:.0f} ms,"
                f" at most {1000 * echoes[-1]:.0f} ms"
            )
        return found


class Crowd:
    """The clients, none of which has a task."""

    def __init__(self, port: int, path: str = "/sub") -> None:
        self._port = port
        self._request = HANDSHAKE.format(path=path, port=port, more="").encode()
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._rests: dict[int, bytes] = {}  # the beginning of what has not come whole
        self._arriving: set[int] = set()
        self.pings = self.delivered = self.lost = 0

    def arrive(self, count: int) -> None:
        """Make so many connections. Raises: RuntimeError when that does not go on."""
        for number in range(count):
            self._start(number)
            if len(self._arriving) >= ARRIVING:
                self._go_on(lambda: len(self._arriving) < ARRIVING)
        self._go_on(lambda: not self._arriving)
        if self.lost:
            raise RuntimeError(f"of {count} connections, {self.lost} were lost while the others were made")

    def rest(self, seconds: float) -> None:
        """Do nothing for so long but answer pings."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._poll(left)

    def receive(self, count: int) -> None:
        """Take messages until there were so many. Raises: RuntimeError when no more come."""
        self._go_on(lambda: self.delivered >= count)

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._epoll.close()

    def _start(self, number: int) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
        sock.bind((f"127.1.0.{number % ADDRESSES + 1}", 0))
        sock.connect_ex(("127.0.0.1", self._port))
        self._sockets[sock.fileno()] = sock
        self._arriving.add(sock.fileno())
        self._epoll.register(sock, select.EPOLLOUT)

    def _go_on(self, is_done: Callable[[], bool]) -> None:
        seen, deadline = self._progress, time.monotonic() + PATIENCE
        while not is_done():
            self._poll(1.0)
            if self._progress != seen:
                seen, deadline = self._progress, time.monotonic() + PATIENCE
            elif time.monotonic() > deadline:
                raise RuntimeError(f"nothing has gone on for {PATIENCE:.0f} s: {len(self._arriving)} on their way")

    @property
    def _progress(self) -> tuple[int, int, int]:
        return len(self._sockets) - len(self._arriving), self.delivered, self.lost

    def _poll(self, seconds: float) -> None:
        for descriptor, events in self._epoll.poll(seconds, 1000):
            sock = self._sockets[descriptor]
            try:
                if events & select.EPOLLOUT:
                    sock.send(self._request)
                    self._epoll.modify(descriptor, select.EPOLLIN)
                else:
                    self._read(sock, descriptor)
            except BlockingIOError:
                pass
            except OSError:
                self._lose(descriptor)

    def _read(self, sock: socket.socket, descriptor: int) -> None:
        data = self._rests.pop(descriptor, b"") + (received := sock.recv(65536))
        if not received:
            raise ConnectionError
        if descriptor in self._arriving:
            head, end, rest = data.partition(b"\r\n\r\n")
            if end and not head.startswith(b"HTTP/1.1 101"):
                raise ConnectionError
            if not end:
                self._rests[descriptor] = data
                return
            self._arriving.remove(descriptor)
            data = rest
        self._take_frames(sock, descriptor, data)

    def _take_frames(self, sock: socket.socket, descriptor: int, data: bytes) -> None:
        """Count messages, answer pings: the server's frames are short here, and have a header of two bytes."""
        while len(data) >= 2 and len(data) >= (end := 2 + data[1]):
            opcode, payload, data = data[0] & 0x0F, data[2:end], data[end:]
            if opcode == TEXT:
                self.delivered += 1
            elif opcode == PING:
                self.pings += 1
                sock.send(encode_frame(payload, PONG))
            else:
                raise ConnectionError
        if data:
            self._rests[descriptor] = data

    def _lose(self, descriptor: int) -> None:
        self.lost += 1
        self._arriving.discard(descriptor)
        self._epoll.unregister(descriptor)
        self._sockets.pop(descriptor).close()


def measure(connections: int, seconds: float, sends: int, say: Say = print, path: str = "/sub") -> Figures:
    """Return the figures of a run. Raises: Missing, RuntimeError."""
    allowed = raise_descriptors(connections + SPARE)
    if allowed < connections + SPARE:
        raise Missing(
            f"this machine allows {allowed} open files, and {connections} connections need {connections + SPARE} in "
            "each of two processes: be root, or see ulimit -Hn, or ask for fewer (--connections)"
        )
    load, processor = processors()
    runner = next(server for server in SERVERS if server.name == "runner")
    with pinned(load), serving(runner, Kit(None, Path("build"), processor)) as running:
        crowd = Crowd(running.port, path)
        try:
            return _measured(running, crowd, connections, seconds, sends, say)
        finally:
            crowd.close()


def _measured(running: Running, crowd: Crowd, connections: int, seconds: float, sends: int, say: Say) -> Figures:
    figures = Figures(connections)
    pid = running.process.pid
    before, began = memory(pid), time.monotonic()
    crowd.arrive(connections)
    figures.arrival = time.monotonic() - began
    say(f"all {connections:,} are there")
    crowd.rest(min(seconds, 5.0))  # until the last handshakes are forgotten
    figures.memory = memory(pid) - before
    used, pings, began = processor_time(pid), crowd.pings, time.monotonic()
    crowd.rest(seconds)
    figures.rest, figures.processor = time.monotonic() - began, processor_time(pid) - used
    figures.pings = crowd.pings - pings
    say("they have rested")
    if sends:
        _send_to_all(running.port, crowd, sends, figures)
    figures.lost = crowd.lost
    return figures


def _send_to_all(port: int, crowd: Crowd, sends: int, figures: Figures) -> None:
    ours, theirs = multiprocessing.Pipe()
    prober = multiprocessing.get_context("spawn").Process(target=probe, args=(port, theirs))
    prober.start()
    try:
        ours.recv()  # it echoes
        with Client(port, "/pub") as publisher:
            publisher.finish_handshake()
            for number in range(1, sends + 1):
                began = time.monotonic()
                publisher.send(encode_frame(b'{"n":%d}' % number))
                crowd.receive(number * figures.connections)
                figures.sends.append(time.monotonic() - began)
        ours.send("enough")
        figures.echoes = ours.recv()
    finally:
        prober.terminate()
        prober.join()


def probe(port: int, pipe: multiprocessing.connection.Connection) -> None:
    """Echo without a pause until something comes through the pipe; send back how long each took, in seconds."""
    echo = encode_frame(b"are you there?")
    latencies: list[float] = []
    with Client(port, "/echo") as client:
        client.finish_handshake()
        pipe.send("there")
        while not pipe.poll():
            began = time.perf_counter()
            client.send(echo)
            client.receive()
            latencies.append(time.perf_counter() - began)
    pipe.send(latencies)


def memory(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def processor_time(pid: int) -> float:
    """Return the seconds that a process has run, in user space and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    parser.add_argument("-n", "--connections", type=int, default=CONNECTIONS, help=f"({CONNECTIONS:,})")
    parser.add_argument("--seconds", type=float, default=REST_SECONDS, help=f"at rest ({REST_SECONDS:.0f})")
    parser.add_argument("--sync", action="store_true", help="with a synchronous consumer, which has no task")
    parser.add_argument("--sends", type=int, default=SENDS, help=f"messages to all of them ({SENDS})")
    given = parser.parse_args(argv)
    if given.connections < 1 or given.seconds <= 0 or given.sends < 0:
        parser.error("--connections is 1 or more, --seconds more than 0, --sends 0 or more")
    print(description(), flush=True)
    try:
        path = "/syncsub" if given.sync else "/sub"
        figures = measure(
            given.connections, given.seconds, given.sends, lambda text: print(text, file=sys.stderr), path
        )
    except (Missing, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(figures.rows()))
    return 1 if figures.lost else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, terminated)
    sys.exit(main())
