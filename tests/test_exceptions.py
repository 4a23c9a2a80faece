"""The types carry the blame, the texts can be read and logged."""

import copy
import json
import pickle

import pytest

from nexios_trio import exceptions
from nexios_trio.exceptions import (
    AuthenticationError,
    HandshakeError,
    InvalidJson,
    InvalidMessage,
    InvalidName,
    LifecycleError,
    MessageError,
    MessageTooBig,
    NexiosError,
    NotAuthorized,
    PayloadError,
    QuotaExceeded,
    SettingsError,
    WebSocketDisconnect,
    WebSocketException,
    WrongFrameType,
)


def test_disconnect_defaults_are_the_documented_ones():
    error = WebSocketDisconnect()
    assert (error.code, error.reason) == (1000, "")
    assert str(error) == "WebSocket disconnected 1000"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (WebSocketDisconnect(1001, "bye"), "WebSocket disconnected 1001: 'bye'"),
        (WebSocketDisconnect(1006, None), "WebSocket disconnected 1006"),
        (WebSocketException(4001, "no token"), "WebSocket closed by the application 4001: 'no token'"),
        (NotAuthorized("join", "user:alice"), "not allowed to join group 'user:alice'"),
        (NotAuthorized("send", "a"), "not allowed to send to group 'a'"),
        (HandshakeError(403, "origin"), "WebSocket handshake refused with HTTP status 403: 'origin'"),
    ],
)
def test_texts(error, text):
    assert str(error) == text


def test_a_peers_reason_cannot_forge_a_log_line():
    assert "\n" not in str(WebSocketDisconnect(1000, "x\nERROR \x1b[31m"))
    assert "\x1b" not in str(WebSocketDisconnect(1000, "x\nERROR \x1b[31m"))


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (LifecycleError, RuntimeError),
        (MessageError, ValueError),
        (WrongFrameType, ValueError),
        (MessageTooBig, ValueError),
        (PayloadError, ValueError),
        (InvalidJson, json.JSONDecodeError),
        (InvalidName, ValueError),
        (SettingsError, ValueError),
    ],
)
def test_programs_catch_them_by_the_builtin_kind(kind, base):
    assert issubclass(kind, base)


def test_every_exported_error_is_ours_and_is_drawn():
    for name in exceptions.__all__:
        assert issubclass(getattr(exceptions, name), NexiosError)
        assert name in (exceptions.__doc__ or "")


@pytest.mark.parametrize(
    "error",
    [
        WebSocketDisconnect(1001, "x"),
        WebSocketException(4000, "y"),
        HandshakeError(426, "version", ((b"a", b"b"),)),
        AuthenticationError("expired"),
        NotAuthorized("join", "user:alice"),
        QuotaExceeded("too many groups of this user", "3"),
        InvalidJson("unexpected character", '{"a": x}', 6),
        InvalidMessage([{"field": "x", "problem": "is missing"}]),
    ],
)
def test_copies_are_equal_in_everything(error):
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is type(error)
        assert vars(other) == vars(error)
        assert str(other) == str(error)
