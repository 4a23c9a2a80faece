"""The pieces of code in the five documents, by document and place. A test says with `covers` which of them it runs.

The documents: 000, the guide; 001, its forerunner with `WSRouter`; 002, the handbook, in two parts; 003, the page on
consumers; 004, the reference of channels. The docstrings of the package name them likewise.
"""

import pytest

CATALOGUE: dict[str, tuple[str, ...]] = {
    "000": (
        "routes: a decorator on the application",
        "routes: a WebsocketRoute added to the application",
        "routes: a router with a prefix, mounted",
        "messages: sending in three kinds",
        "messages: receiving in three kinds",
        "formats: text answered",
        "formats: binary echoed",
        "formats: JSON wrapped and returned",
        "lifecycle: accept",
        "lifecycle: receive in a loop",
        "lifecycle: the disconnect caught",
        "lifecycle: close at last",
    ),
    "001": (
        "routes: a decorator on the application",
        "routes: a WebsocketRoutes added to the application",
        "routes: a WSRouter mounted at a prefix",
        "routes: a WSRouter made of a list",
        "routes: a mount that replaces the prefix",
        "messages: sending in three kinds",
        "messages: receiving in three kinds",
        "formats: text answered",
        "formats: binary echoed",
        "formats: JSON wrapped and returned",
        "lifecycle: accept",
        "lifecycle: receive in a loop",
        "lifecycle: the disconnect caught",
        "lifecycle: close at last",
    ),
    "002": (
        "setup: an echo of raw events",
        "channels: one around a connection",
        "boxes: a room with history",
        "channels: the three payload types",
        "boxes: adding to a group and the status of it",
        "boxes: removing from a group and the status of it",
        "boxes: sending to a group and the status of it",
        "history: of one group and of all",
        "history: its size from the environment",
        "history: cleared",
        "expiry: a channel with a time to live",
        "expiry: asking whether it is over",
        "chat: the whole application",
        "second part: an endpoint on a WSRouter",
        "second part: text messages",
        "second part: binary messages",
        "second part: JSON messages",
        "second part: the life of a connection",
        "second part: what is known of a connection",
        "second part: errors answered",
        "rooms: a function",
        "rooms: a consumer",
        "rooms: listing groups, and the channels of one",
        "rooms: history shown and flushed",
        "rooms: a message to one channel",
        "rooms: closing everything, cleaning what has expired",
        "rooms: the whole chat room",
    ),
    "003": (
        "consumers: the three methods",
        "consumers: messages that come decoded",
        "consumers: the channel at hand",
        "groups: join and leave",
        "groups: broadcast with history",
        "groups: a message to one user",
        "routes: a consumer as a route",
        "errors: logged, and closed with 1011",
        "chat: users and a lobby",
    ),
    "004": (
        "channels: a subclass",
        "channels: made with keywords",
        "sending: by payload",
        "sending: JSON",
        "sending: text",
        "sending: bytes",
        "receiving: by payload type",
        "receiving: JSON",
        "receiving: text",
        "receiving: bytes",
        "groups: a handle",
        "groups: add",
        "groups: remove",
        "groups: send",
        "groups: send JSON",
        "registry: a new one",
        "registry: add",
        "registry: remove",
        "registry: get by id",
        "registry: get all",
        "middleware: authentication",
        "middleware: a rate limit on connections",
        "events: connect and disconnect",
        "events: message",
        "events: error",
        "practices: handling errors",
        "practices: managing a connection",
        "practices: validating messages",
        "practices: a channel that limits messages",
        "practices: a channel with a heartbeat",
        "practices: a channel with a queue",
        "practices: a channel that is secure",
    ),
}

COVERED = "covers"  # the mark, and the property of the reports of tests that have it

PLACES = tuple(f"{document} {place}" for document, places in CATALOGUE.items() for place in places)


def covers(*places: str) -> pytest.MarkDecorator:
    """What a test runs, in its own words. Raises: ValueError for a place that is in no document."""
    unknown = set(places).difference(PLACES)
    if unknown or not places:
        raise ValueError(f"covers takes places of the catalogue, not {sorted(unknown) or 'none'}")
    return pytest.mark.covers(*places)
