"""Check hypercorn's options before anything is started.

A TOML file may hold anything, and hypercorn looks at an option when it needs it: a timeout that is text would fail only
when the server stops.
"""

import difflib
import logging
import os
import ssl
from collections.abc import Callable, Iterable
from enum import IntEnum, IntFlag
from math import inf
from typing import Any, Final

import attrs
from hypercorn.config import Config

__all__ = ["check_options", "unknown_options"]


@attrs.frozen
class Option:
    """One kind of option: what is accepted, in words, and which values are."""

    accepted: str
    allows: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_log(value: Any) -> bool:
    return value is None or isinstance(value, str | logging.Logger)


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, bytes) and all(isinstance(each, str) for each in value)


SECONDS: Final = Option("a number of seconds from 0", lambda value: _is_number(value) and 0 <= value < inf)
PERIOD: Final = Option(
    "a number of seconds above 0, or nothing", lambda value: value is None or (_is_number(value) and 0 < value < inf)
)
COUNT: Final = Option("a whole number from 1", lambda value: _is_whole(value) and value >= 1)
NUMBER: Final = Option(
    "a whole number from 0, or nothing", lambda value: value is None or (_is_whole(value) and value >= 0)
)
SWITCH: Final = Option("true or false", lambda value: isinstance(value, bool))
TEXT: Final = Option("text", lambda value: isinstance(value, str))
PATH: Final = Option("a path, or nothing", lambda value: value is None or isinstance(value, str | os.PathLike))
LOG: Final = Option("a path, - for the standard stream, a logger, or nothing", _is_log)
LIST: Final = Option("text, or a list of it", _is_list)

# The options that have a meaning under our runner.
OPTIONS: Final[dict[str, Option]] = {
    **dict.fromkeys(("graceful_timeout", "keep_alive_timeout", "shutdown_timeout"), SECONDS),
    **dict.fromkeys(("ssl_handshake_timeout", "startup_timeout"), SECONDS),
    **dict.fromkeys(("read_timeout", "websocket_ping_interval"), PERIOD),
    **dict.fromkeys(("backlog", "h11_max_incomplete_size", "keep_alive_max_requests", "max_app_queue_size"), COUNT),
    **dict.fromkeys(("workers", "websocket_max_message_size"), COUNT),
    **dict.fromkeys(("group", "umask", "user"), NUMBER),
    **dict.fromkeys(("h11_pass_raw_headers", "include_date_header", "include_server_header"), SWITCH),
    **dict.fromkeys(("access_log_format", "ciphers", "loglevel", "root_path"), TEXT),
    **dict.fromkeys(("ca_certs", "certfile", "keyfile", "pid_path"), PATH),
    **dict.fromkeys(("accesslog", "errorlog"), LOG),
    **dict.fromkeys(("alt_svc_headers", "bind", "insecure_bind", "server_names"), LIST),
}


def check_options(config: Config) -> None:
    """Check every option that we or hypercorn will use; read those of TLS that a text may stand for.

    Raises:
        ValueError: an option that is not accepted; the text says what is.
    """
    for name, option in OPTIONS.items():
        value = getattr(config, name)
        if not option.allows(value):
            raise ValueError(f"{name} must be {option.accepted}, not {value!r}")
    if config.loglevel.upper() not in logging.getLevelNamesMapping():
        raise ValueError(f"loglevel must be one of debug, info, warning, error and critical, not {config.loglevel!r}")
    config.verify_mode = _read_enum("verify_mode", ssl.VerifyMode, config.verify_mode)
    config.verify_flags = _read_enum("verify_flags", ssl.VerifyFlags, config.verify_flags)


def _read_enum(name: str, kind: type[IntEnum] | type[IntFlag], value: Any) -> Any:
    """The member that a name or a number stands for. None stays."""
    members = kind.__members__
    if value is None:
        return None
    if isinstance(value, str) and value in members:
        return members[value]
    try:
        if _is_whole(value):
            return kind(value)
    except ValueError:
        pass
    raise ValueError(f"{name} must be one of {', '.join(members)}, not {value!r}")


def unknown_options(config: Config) -> list[str]:
    """Return a sentence for each option that was set and that hypercorn does not know."""
    known = [name for name in dir(Config) if not name.startswith("_")]
    found = []
    for name in vars(config):
        if not name.startswith("_") and name not in known and name != "application_path":
            close = difflib.get_close_matches(name, known, 1)
            found.append(f"{name!r} is no option of hypercorn's" + (f"; did you mean {close[0]}?" if close else ""))
    return found
