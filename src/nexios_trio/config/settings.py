"""Every limit and switch in one frozen object.

Times are seconds (``inf`` means never, where it is accepted), sizes are bytes. Each setting can be given as
an argument, or as the environment variable ``NEXIOS_`` and its name in capitals.
"""

import difflib
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final, cast

import attrs
from attrs import frozen

from ..core.json import JsonDefault
from ..core.overflow import Policy, disconnect, resolve_policy
from ..core.proxy_headers import Proxy
from ..exceptions import SettingsError
from .validators import Accepted, Count, Seconds, Size, Switch, json_hook, origins, parse, proxies

__all__ = ["PREFIX", "Settings", "SettingsRow"]

PREFIX: Final = "NEXIOS_"
_TYPO: Final = 0.88  # similarity from which an unknown variable is taken for a misspelt one


def _field(default: Any, validator: Any, unit: str, meaning: str) -> Any:
    return attrs.field(default=default, validator=validator, metadata={"unit": unit, "meaning": meaning})


@frozen
class SettingsRow:
    """One line of the table of settings."""

    name: str
    value: str
    default: str
    variable: str
    unit: str
    meaning: str


@frozen(kw_only=True)
class Settings:
    """The limits and switches of one application. `describe` explains each.

    Raises:
        TypeError, ValueError: a value that is not accepted; the text says what is.
    """

    # what a peer may send
    max_message_size: int = _field(65_536, Size(), "bytes", "largest message that a peer may send; above it 1009")
    max_message_size_ceiling: int = _field(
        1_048_576, Size(), "bytes", "hard maximum of max_message_size, so that a large one is a decision"
    )
    max_fragments: int = _field(4096, Count(), "frames", "fragments that one message may come in")
    max_json_depth: int = _field(128, Count(), "levels", "of lists and objects in JSON that a peer sends")
    max_body_size: int = _field(1_048_576, Size(), "bytes", "largest body of an HTTP request; above it 413")
    max_handshake_size: int = _field(16_384, Size(256), "bytes", "request line and headers of the opening request")
    inbox_messages: int = _field(
        64, Count(), "messages", "received and not yet read by the handler; then we stop reading"
    )
    inbox_bytes: int = _field(1_048_576, Size(), "bytes", "the same in bytes; at least max_message_size")

    # what may wait for a peer
    outbox_messages: int = _field(256, Count(), "messages", "waiting for one peer, before `overflow` decides")
    outbox_bytes: int = _field(1_048_576, Size(), "bytes", "the same in bytes")
    overflow: Policy = attrs.field(
        default=disconnect,
        converter=resolve_policy,
        metadata={
            "unit": "",
            "meaning": "disconnect, drop_oldest, drop_latest, max_lag:SECONDS, or a policy",
        },
    )

    json_default: JsonDefault | None = attrs.field(
        default=None,
        converter=json_hook,
        metadata={"unit": "", "meaning": "a function that makes JSON's own types of what JSON does not know"},
    )

    send_buffer: int | None = _field(
        None,
        Size(1024, optional=True),
        "bytes",
        "unsent, that the kernel may hold for one peer; None: its own bound, and 8 KiB for conflate and max_lag",
    )

    # how long things may take
    handshake_timeout: float = _field(10.0, Seconds(), "seconds", "for the opening request to arrive")
    accept_timeout: float = _field(10.0, Seconds(endless=True), "seconds", "for the handler to accept or refuse")
    auth_timeout: float = _field(15.0, Seconds(endless=True), "seconds", "for a peer to authenticate, where asked to")
    write_timeout: float = _field(
        10.0, Seconds(), "seconds", "in which a peer takes nothing of what waits for it; then it is reset"
    )
    min_read_rate: int = _field(
        1000, Size(), "bytes per second", "that a peer takes at least while something waits; less counts as nothing"
    )
    close_timeout: float = _field(
        5.0, Seconds(), "seconds", "for the closing handshake; does not run while the peer reads what came before"
    )
    disconnect_grace: float = _field(
        30.0, Seconds(endless=True, zero=True), "seconds", "a handler may go on after its peer left"
    )
    cleanup_timeout: float = _field(5.0, Seconds(), "seconds", "for on_disconnect, whatever happens")
    ping_interval: float = _field(20.0, Seconds(endless=True), "seconds", "between pings; inf for none")
    ping_timeout: float = _field(60.0, Seconds(endless=True), "seconds", "of silence after which a peer is dead")
    drain_timeout: float = _field(10.0, Seconds(zero=True), "seconds", "for the whole shutdown, whatever peers do")
    drain_jitter: float = _field(1.0, Seconds(zero=True), "seconds", "over which the closes (1012) are spread")

    # how many
    max_connections: int | None = _field(
        None, Count(optional=True), "connections", "in this process; None: as many as its file limit allows"
    )
    max_connections_per_address: int | None = _field(
        None, Count(optional=True), "connections", "from one address (of IPv6, one /64); behind a proxy all look alike"
    )
    max_groups_per_channel: int = _field(128, Count(), "groups", "that one channel may be in")
    max_connections_per_user: int | None = _field(
        None, Count(optional=True), "connections", "of one user to this process; one more ends the oldest with 4002"
    )
    max_groups_per_user: int | None = _field(
        None, Count(optional=True), "groups", "that all connections of one user to this process may be in"
    )
    max_publishes_per_user: int | None = _field(
        None,
        Count(optional=True),
        "messages per second",
        "that one user's connections may publish; at once, twice as many",
    )

    # whom to believe
    allowed_origins: tuple[str, ...] = attrs.field(
        default=(),
        converter=origins,
        metadata={
            "unit": "",
            "meaning": "origins besides our own host that browsers may come from; * for any",
        },
    )
    require_origin: bool = _field(False, Switch(), "", "refuse requests without an Origin header (not from browsers)")
    trusted_proxies: tuple[Proxy, ...] = attrs.field(
        default=(),
        converter=proxies,
        metadata={
            "unit": "",
            "meaning": "addresses and networks whose forwarding headers are believed; unix for peers on a Unix socket",
        },
    )

    # switches
    compression: bool = _field(False, Switch(), "", "offer permessage-deflate, without context takeover")
    takeover: bool = _field(True, Switch(), "", "use the socket itself inside hypercorn, where everything matches")
    gc_tuning: bool = _field(
        True, Switch(), "", "while serving, leave start-up objects out of garbage collection, and collect less often"
    )
    block_warning: float = _field(
        inf,
        Seconds(endless=True),
        "seconds",
        "that a call may block the event loop before the log says which; inf for never, but 1 with debug and --reload",
    )
    debug: bool = _field(False, Switch(), "", "show tracebacks and details to peers")

    def __attrs_post_init__(self) -> None:
        _check_sizes(self)
        if self.ping_interval < inf:
            _at_most(self, "ping_interval", "ping_timeout")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], **overrides: Any) -> "Settings":
        """Settings from ``NEXIOS_...`` variables; `overrides` win over them, other variables are left alone.

        Raises:
            SettingsError: a value that is not accepted, or a variable that looks like a misspelt one.
            TypeError: an override that is not a setting.
        """
        _check_names(overrides)
        _check_typos(environ)
        values: dict[str, Any] = {}
        for field in attrs.fields(cls):
            text = environ.get(_variable(field.name))
            if text is not None and field.name not in overrides:
                values[field.name] = _read(field, text)
        return cls(**values, **overrides)

    def evolve(self, **changes: Any) -> "Settings":
        """A copy with some settings changed, checked like a new one."""
        _check_names(changes)
        return attrs.evolve(self, **changes)

    def describe(self) -> list[SettingsRow]:
        """A row for each setting, in the order of the class."""
        return [
            SettingsRow(
                name=field.name,
                value=_show(getattr(self, field.name)),
                default=_show(field.default),
                variable=_variable(field.name),
                unit=field.metadata["unit"],
                meaning=field.metadata["meaning"],
            )
            for field in attrs.fields(type(self))
        ]


_NAMES: Final = tuple(field.name for field in attrs.fields(Settings))


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _check_sizes(settings: Settings) -> None:
    """Check that the largest message fits everywhere; one error names all the settings that belong to it."""
    largest = settings.max_message_size
    low = [name for name in ("max_message_size_ceiling", "inbox_bytes") if getattr(settings, name) < largest]
    if low:
        bounds = " and ".join(f"{name} ({getattr(settings, name)})" for name in low)
        if settings.outbox_bytes < largest:
            low.append("outbox_bytes")  # no error: only who sends as much needs it
        together = ", ".join(f"{name}={largest}" for name in ["max_message_size", *low])
        raise SettingsError(f"max_message_size ({largest}) must not be above {bounds}; set them together: {together}")


def _at_most(settings: Settings, low: str, high: str) -> None:
    first, second = getattr(settings, low), getattr(settings, high)
    if first > second:
        raise SettingsError(f"{low} ({first}) must not be above {high} ({second}); change one of them")


def _read(field: "attrs.Attribute[Any]", text: str) -> Any:
    """The value of one variable, converted and checked by itself, so that an error names the variable."""
    convert = cast("Callable[[str], Any] | None", field.converter)
    try:
        if convert is not None:
            return convert(text.strip())
        value = parse(field.validator, text)
        field.validator(None, field, value)  # type: ignore[misc]
    except (TypeError, ValueError) as error:
        problem = f"must be {field.validator.accepted}" if isinstance(field.validator, Accepted) else error
        raise SettingsError(f"{_variable(field.name)}={text!r}: {problem}") from None
    return value


def _check_names(given: Mapping[str, Any]) -> None:
    for name in given:
        if name not in _NAMES:
            raise TypeError(f"there is no setting {name!r}{_suggest(name, _NAMES, 0.6)}")


def _check_typos(environ: Mapping[str, str]) -> None:
    known = [_variable(name) for name in _NAMES]
    for variable in environ:
        if variable.startswith(PREFIX) and variable not in known:
            suggestion = _suggest(variable, known, _TYPO)
            if suggestion:
                raise SettingsError(f"{variable} is not a setting{suggestion}")


def _suggest(name: str, names: "list[str] | tuple[str, ...]", cutoff: float) -> str:
    close = difflib.get_close_matches(name, names, 1, cutoff)
    return f"; did you mean {close[0]}?" if close else ""


def _show(value: object) -> str:
    if isinstance(value, Policy):
        return value.name
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if callable(value):
        return str(getattr(value, "__qualname__", type(value).__qualname__))
    return f"{value:g}" if isinstance(value, float) else str(value)
