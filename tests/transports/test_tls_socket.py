"""A socket that speaks TLS, used as any other."""

import socket
import ssl
from contextlib import contextmanager

import pytest

from tests.transports.peers import RESET, client_context, server_context
from tests.transports.support import connected, secured


@contextmanager
def pair(*, small=False):
    ours, theirs = connected(small)
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ours, peer = secured(ours, theirs)
    try:
        yield ours, peer
    finally:
        ours.close()
        peer.raw.close()


def told(peer):
    """Have what the kernel carries arrive. On the loopback interface it does at once."""
    peer.buffer += peer.take()
    return bytes(peer.buffer)


def test_what_is_said_is_encrypted_and_read():
    with pair() as (ours, peer):
        assert ours.send(b"hello") == 5
        assert told(peer) == b"hello"
        peer.send_nowait(b"and you?")
        assert ours.recv(100) == b"and you?"
        with pytest.raises(BlockingIOError):
            ours.recv(100)


def test_a_record_may_be_read_in_parts_of_which_no_epoll_tells():
    with pair() as (ours, peer):
        peer.send_nowait(b"x" * 5000)
        assert ours.recv(1536) == b"x" * 1536
        assert ours.pending() == 5000 - 1536


def test_a_long_message_is_read_in_one_go():
    with pair() as (ours, peer):
        peer.send_nowait(b"x" * 50_000)
        assert len(ours.recv(65536)) == 50_000


def test_a_message_that_fits_into_a_record_is_one():
    with pair() as (ours, peer):
        assert ours.send(b"x" * 16384) == 16384
        assert len(peer.raw.recv(65536)) == 16384 + 22  # the head, the type and the tag (RFC 8446, 5.2)


def test_whole_records_are_taken_and_what_does_not_fit_is_told():
    data = bytes(range(256)) * 4000
    with pair(small=True) as (ours, peer):
        peer.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)
        sent = ours.send(data)
        assert 0 < sent < len(data)
        assert sent % 16384 == 0
        assert ours.committed == 16384
        while sent < len(data):
            told(peer)
            try:
                sent += ours.send(memoryview(data)[sent:])
            except BlockingIOError:
                assert ours.committed <= 16384
        while len(peer.buffer) < len(data):
            told(peer)
        assert bytes(peer.buffer) == data


@pytest.mark.parametrize("more", [b"", b" and more that came in between"], ids=["the same", "more"])
def test_what_did_not_fit_is_said_again_or_more(more):
    with pair(small=True) as (ours, peer):
        count = 0
        while True:
            message = b"%d %s" % (count, b"x" * 3000)
            try:
                ours.send(message)
            except BlockingIOError:
                break
            count += 1
        assert ours.committed == len(message)
        whole = bytearray(message + more)  # elsewhere in memory
        while True:
            told(peer)
            try:
                assert ours.send(whole) == len(whole)
            except BlockingIOError:
                continue
            break
        while not bytes(peer.buffer).endswith(bytes(whole)):
            told(peer)
        assert bytes(peer.buffer).count(b"x") == 3000 * (count + 1)


def test_both_sides_may_say_that_they_have_said_their_last():
    with pair() as (ours, peer):
        ours.send(b"the last")
        ours.shutdown(socket.SHUT_WR)
        assert told(peer) == b"the last"
        assert peer.has_closed_tls
        assert peer.raw.recv(1) == b""  # the end of TCP, behind it
        peer.send_nowait(b"what nobody reads any more")
        assert b"nobody" not in ours.recv(65536)


@pytest.mark.parametrize("is_told", [True, False], ids=["in order", "cut off"])
def test_the_end_of_the_peer(is_told):
    with pair() as (ours, peer):
        peer.send_nowait(b"the last")
        if is_told:
            peer.close_tls()
        else:
            peer.stop_sending()
        assert ours.recv(100) == b"the last"
        assert ours.recv(100) == b""
        if is_told:  # who has said its last may still listen
            assert ours.send(b"fine") == 4
            assert told(peer) == b"fine"


def test_closing_says_nothing():
    """A child that was forked closes its copy, and whoever resets a connection must not have it look like an end."""
    with pair() as (ours, peer):
        ours.close()
        told(peer)
        assert not peer.has_closed_tls
        assert peer.raw.recv(1) == b""


def test_noise_is_an_error_and_the_peer_is_told():
    with pair() as (ours, peer):
        peer.raw.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(ssl.SSLError):
            ours.recv(100)
        told(peer)
        assert peer.alert == "SSLV3_ALERT_BAD_RECORD_MAC"


def test_a_client_that_comes_back_shows_its_ticket():
    server, client = server_context(), client_context()
    ours, peer = secured(*connected(False), server, client)
    ours.send(b"x")
    told(peer)  # with the tickets before it
    session = peer.tls.session
    assert session is not None
    assert session.has_ticket
    again, same = secured(*connected(False), server, client, session)
    assert (again.session_reused, same.tls.session_reused) == (True, True)
    for each in (ours, peer.raw, again, same.raw):
        each.close()


def test_nothing_is_negotiated_anew():
    assert server_context().options & ssl.OP_NO_RENEGOTIATION


def test_a_peer_that_is_gone_before_tls_begins():
    ours, theirs = connected(small=False)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    theirs.close()
    secure = server_context().wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
    with pytest.raises(OSError, match="not connected|peer"):
        secure.do_handshake()
    secure.close()
