"""Everything of hypercorn's insides that the runner relies on. When one of these fails, hypercorn has changed: read what
changed, adapt `nexios_trio.serving`, run the crash corpus, then write the new value here.
"""

import hashlib
import inspect
from importlib.metadata import requires, version
from typing import Any

import pytest
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.logging import AccessLogAtoms, Logger
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.statsd import StatsdLogger
from hypercorn.trio.task_group import TaskGroup, _handle
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import EventWrapper, TrioSingleTask, WorkerContext
from hypercorn.typing import AppWrapper

from nexios_trio.transports.hypercorn import hijack as takeover

# What the guard takes over, overrides or steers: the first 16 digits of its source's SHA-256.
HELD: dict[Any, str] = {
    TCPServer: "5593e38b83d3e22e",
    H11Protocol: "b32a61e0a8ca2127",
    HTTPStream: "e0f656feb55ab89c",
    TaskGroup: "8467a3a16a7e8763",
    _handle: "06081a56a9930825",
    EventWrapper: "7c96abfd4a9ca2dc",
    TrioSingleTask: "aa59316c028b876a",
    WorkerContext: "45885f0c0bd5bc9d",
    AccessLogAtoms: "e7ae167be89ae431",
    Logger.__init__: "6d4550aa9f8a1ea5",
    Logger.access: "59b27f8b5402bfb2",
    Logger.atoms: "9a055114de8f994c",
    Config.create_ssl_context: "66241a00f5167198",
    Config.set_statsd_logger_class: "246bef958093c084",
    Config.response_headers: "5a637c3d48180e55",
    StatsdLogger: "f5bf5ba1221af637",
    Closed: "fdf0811a40db6ca8",
    RawData: "ef90de8e4a2d6245",
    AppWrapper: "7ee0cf8bf31c4900",
    Config.log.fget: "23b378cc32953e34",
    Config.ssl_enabled.fget: "05244dd4e680b843",
}


def digest(thing: Any) -> str:
    return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:16]


def test_the_version_is_the_pinned_one():
    assert version("hypercorn").startswith("0.18."), "pyproject.toml pins hypercorn; adapt the guard first"
    assert "hypercorn<0.19,>=0.18" in (requires("nexios-trio") or ())
    assert takeover.SUPPORTED_VERSION == "0.18."


@pytest.mark.parametrize(("thing", "expected"), HELD.items(), ids=lambda value: getattr(value, "__qualname__", ""))
def test_the_code_that_is_overridden_or_called_is_as_it_was(thing, expected):
    assert digest(thing) == expected, f"{thing.__qualname__} has changed"


def test_the_options_that_are_read_or_set_exist():
    config = Config()
    for name in (
        *("access_log_format", "accesslog", "alpn_protocols", "backlog", "bind", "ca_certs", "certfile"),
        *("graceful_timeout", "group", "insecure_bind", "keyfile", "logger_class", "max_requests", "pid_path"),
        *("quic_bind", "read_timeout", "root_path", "server_names", "ssl_enabled", "ssl_handshake_timeout"),
        *("startup_timeout", "umask", "user", "workers"),
    ):
        assert hasattr(config, name), name
    assert Config._log is None
    assert Config.backlog == 100
