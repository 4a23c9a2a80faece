"""Connections at rest are made, rest, and are counted; what goes wrong is said."""

import resource
import socket

import pytest

from benchmarks import idle, machine
from benchmarks.idle import Crowd, Figures, main, measure
from benchmarks.machine import Missing, raise_descriptors


@pytest.mark.parametrize("path", ["/sub", "/syncsub"])
def test_a_crowd_comes_rests_and_is_sent_to(path):
    said = []
    figures = measure(40, 0.2, 2, said.append, path)
    assert (figures.connections, figures.lost, len(figures.sends)) == (40, 0, 2)
    assert figures.memory > 0
    assert figures.rest >= 0.2
    assert figures.echoes
    assert said == ["all 40 are there", "they have rested"]


def test_the_figures_are_shown():
    figures = Figures(2000, 1.4, 30 * 2**20, 100.0, 2.5, 10_000, 1, [0.02, 0.04, 0.03], [0.001] * 98 + [0.02, 0.1])
    assert figures.rows() == [
        "2,000 connections, made in 1 s",
        "memory        30 MiB, 15.4 KiB each",
        "at rest       2.5 % of a processor for 100 s, 10,000 pings answered",
        "lost          1",
        "to all        0.03 s, 0.04 s at most",
        "echoes        100 meanwhile: median 1.0 ms, p99 100 ms, at most 100 ms",
    ]


def test_too_few_descriptors_are_said(monkeypatch, capsys):
    monkeypatch.setattr(idle, "raise_descriptors", lambda needed: 1024)
    assert main(["-n", "1000"]) == 1
    assert "allows 1024 open files, and 1000 connections need 1500" in capsys.readouterr().err
    with pytest.raises(Missing):
        measure(1000, 1.0, 1)


def test_a_limit_is_raised_where_we_may(monkeypatch):
    limits = [100, 200]

    def set_limit(_, wanted):
        if wanted[1] > 1000:
            raise ValueError("not allowed to raise maximum limit")
        limits[:] = wanted

    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(machine.resource, "setrlimit", set_limit)
    assert raise_descriptors(150) == 200
    assert limits == [200, 200]
    assert raise_descriptors(900) == 900
    assert raise_descriptors(5000) == 900
    assert resource.RLIMIT_NOFILE == machine.resource.RLIMIT_NOFILE


@pytest.mark.parametrize("arguments", [["-n", "0"], ["--seconds", "0"], ["--sends", "-1"]], ids=lambda one: one[0])
def test_nonsense_is_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert "--connections is 1 or more" in capsys.readouterr().err


class Peer:
    """A server's end, in the test's hand."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.crowd = Crowd(self.listener.getsockname()[1])
        self.crowd._start(0)
        self.sock, _ = self.listener.accept()

    def until(self, condition):
        while not condition():
            self.crowd._poll(1.0)

    def close(self):
        self.crowd.close()
        self.sock.close()
        self.listener.close()


@pytest.fixture
def peer():
    found = Peer()
    yield found
    found.close()


def test_what_comes_in_parts_is_taken_whole(peer):
    for part in (b"HTTP/1.1 101 X\r\n", b"\r\n\x81", b"\x02hi\x89\x01", b"!\x81\x00\x81"):
        peer.sock.sendall(part)
    peer.until(lambda: peer.crowd.delivered == 2)
    assert (peer.crowd.pings, peer.crowd.lost, peer.crowd._arriving) == (1, 0, set())
    answered = peer.sock.recv(65536)
    assert answered.startswith(b"GET /sub")
    while not answered.endswith(bytes([0x8A, 0x81, 1, 2, 3, 4, ord("!") ^ 1])):
        answered += peer.sock.recv(65536)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 503 X\r\n\r\n", b"HTTP/1.1 101 X\r\n\r\n\x88\x00"], ids=["503", "close"])
def test_who_is_refused_or_closed_is_lost(answer, peer):
    peer.sock.sendall(answer)
    peer.until(lambda: peer.crowd.lost)
    assert (peer.crowd.lost, peer.crowd._sockets) == (1, {})


def test_a_connection_that_ends_is_lost(peer):
    peer.sock.close()
    peer.until(lambda: peer.crowd.lost)
    assert peer.crowd.lost == 1


def test_it_ends_when_nothing_goes_on(peer, monkeypatch):
    monkeypatch.setattr(idle, "PATIENCE", 0.0)
    with pytest.raises(RuntimeError, match="nothing has gone on for 0 s: 1 on their way"):
        peer.crowd.receive(1)
