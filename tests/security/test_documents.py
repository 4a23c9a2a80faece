"""What SECURITY.md and the guide say of our defaults is what they are."""

import re
from pathlib import Path

import attrs
import pytest

from nexios_trio.config.settings import Settings
from nexios_trio.middleware import MessageRateLimitMiddleware

PROJECT = Path(__file__).resolve().parents[2]
POLICY = (PROJECT / "SECURITY.md").read_text()
GUIDE = (PROJECT / "docs" / "guides" / "security.md").read_text()
DEFAULTS = Settings()

# Settings that protect from nothing: they say how, not whether.
NO_PROTECTION = {"gc_tuning", "takeover", "disconnect_grace", "cleanup_timeout", "json_default"}


def kib(size: int) -> str:
    return f"{size // 1024} KiB" if size < 1024 * 1024 else f"{size // 1024 // 1024} MiB"


def seconds(value: float) -> str:
    return f"{value:g} s"


D = DEFAULTS
POLICY_ROWS = {
    "message size": kib(D.max_message_size),
    "fragments in a message": str(D.max_fragments),
    "compression": "on" if D.compression else "off",
    "JSON depth": str(D.max_json_depth),
    "received and unread": f"{D.inbox_messages} messages, {kib(D.inbox_bytes)}",
    "unsent to a slow reader": f"{D.outbox_messages} messages, {kib(D.outbox_bytes)}, then 1013",
    "one write": f"{seconds(D.write_timeout)} without {D.min_read_rate} bytes a second being read, then reset",
    "opening request arrives within": seconds(D.handshake_timeout),
    "opening request": kib(D.max_handshake_size),
    "handler accepts within": seconds(D.accept_timeout),
    "peer authenticates within": f"{seconds(D.auth_timeout)}, where asked to",
    "ping interval, silence allowed": f"{seconds(D.ping_interval)}, {seconds(D.ping_timeout)}",
    "closing handshake": seconds(D.close_timeout),
    "whole shutdown, handlers that shield themselves included; goodbyes spread over": f"{seconds(D.drain_timeout)}, {seconds(D.drain_jitter)}",
    "connections": "as many as descriptors allow" if D.max_connections is None else str(D.max_connections),
    "connections of one address (IPv6: of one /64)": "- (one setting)",
    "groups of one channel": str(D.max_groups_per_channel),
    "body of an HTTP request": kib(D.max_body_size),
    "forwarding headers believed from": (
        f"{'somebody' if D.trusted_proxies else 'nobody'}; with any trusted proxy, also peers on Unix sockets"
    ),
    "Origin checked": "same origin" if not D.allowed_origins else "others too",
    "programs without an Origin": "refused" if D.require_origin else "let in",
    "details of errors shown to peers": "yes" if D.debug else "never",
}


def rows(text: str) -> dict[str, str]:
    """First and second column of every table."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return {cells[0].strip(): cells[1].strip() for cells in lines if len(cells) > 1}


@pytest.mark.parametrize("name", POLICY_ROWS)
def test_the_policy_says_what_the_defaults_are(name: str) -> None:
    assert rows(POLICY)[name] == POLICY_ROWS[name]


def test_the_supplied_message_rate() -> None:
    middleware = MessageRateLimitMiddleware()
    rate, burst = f"{middleware._rate:g}", middleware._burst
    assert rows(POLICY)["messages a second"] == f"- (one middleware: {rate}, bursts of {burst})"
    assert f"MessageRateLimitMiddleware(rate={rate}, burst={burst})" in GUIDE


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(Settings) if field.name not in NO_PROTECTION])
def test_every_protection_is_in_the_guide_with_its_argument(field: str) -> None:
    assert re.search(rf"`{field}[`=]", GUIDE), f"{field} is nowhere in the guide"


@pytest.mark.parametrize(
    "phrase",
    [
        f"{kib(D.max_message_size)}, then close code 1009",
        f"{D.max_fragments} in a message, then 1009",
        f"at most {D.max_json_depth} levels",
        f"{seconds(D.handshake_timeout)} for the whole head, then 408",
        f"{kib(D.max_handshake_size)}, then 431; a body: {kib(D.max_body_size)}, then 413",
        f"{seconds(D.accept_timeout)}, then 503",
        f"{seconds(D.auth_timeout)}, then 4001",
        f"{D.outbox_messages} messages and {kib(D.outbox_bytes)}; then it is closed with 1013",
        f"takes fewer than {D.min_read_rate} bytes a second for {seconds(D.write_timeout)} is reset",
        f"{D.inbox_messages} messages and {kib(D.inbox_bytes)}; then we stop reading",
        f"A ping every {seconds(D.ping_interval)}, with jitter; reset after {seconds(D.ping_timeout)} of silence",
        f"{D.max_groups_per_channel} groups for each channel",
    ],
)
def test_the_guide_says_what_the_defaults_are(phrase: str) -> None:
    assert phrase in GUIDE
