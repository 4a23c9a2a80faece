"""All that users can call: what the public modules name in `__all__`, and the public methods of the classes there."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cache
from typing import Any

import attrs

import nexios_trio
from nexios_trio import middleware

# For connections alone: to tell their channels, to wait where there is something to wait for, and to be counted.
# For applications: to give their box an engine. For `UserConnections`: what they are made of.
INTERNAL = {
    *("ChannelBox.settle_name", "ChannelBox.share"),
    *("ConnectionBinding.accepted", "ConnectionBinding.disconnected"),
    *("ConnectionBinding.settle_posts", "Memberships.settle_posts"),
    *("UserBox.enter_user", "UserBox.leave_user", "UserBox.rejoin_user", "UserBox.resume_user"),
    *("UserBox.ended_user", "UserBox.limit_users"),
    *("UserBox.connections_here", "UserBox.join_here", "UserBox.post_to_user", "UserBox.wait_for_writers"),
    *("UserBox.describe_user", "UserBox.disconnect_for_another", "UserBox.unsubscribe_user"),
    *("Memberships.begin_counting", "Memberships.delivery_counts", "Memberships.end_counting"),
    "Memberships.presence_counts",
}
# What a realtime client is to its groups and its conversation; `RealtimeClient` has what is for users.
INTERNAL_CLASSES = ("RealtimeMember.", "Connected.")
SPECIAL = ("__init__", "__call__", "__aenter__", "__anext__", "__await__")


@cache
def public_functions() -> dict[str, Callable[..., Any]]:
    """By the name where each is defined, such as "Channel.send" or "open_channel"."""
    found = {each.__qualname__: each for module in _modules() for each in _functions_in(module)}
    return {
        name: each for name, each in found.items() if name not in INTERNAL and not name.startswith(INTERNAL_CLASSES)
    }


def _modules() -> Iterator[Any]:
    yield nexios_trio
    yield middleware
    for info in pkgutil.iter_modules(nexios_trio.__path__, "nexios_trio."):
        if not info.name.endswith(".__main__"):  # runs when it is imported
            yield importlib.import_module(info.name)


def _functions_in(module: Any) -> Iterator[Any]:
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if inspect.isclass(thing):
            yield from _methods(thing)
        elif inspect.isroutine(thing) and _is_ours(thing):
            yield thing


def _methods(cls: type) -> Iterator[Any]:
    for name in dir(cls):
        function = _function(inspect.getattr_static(cls, name))
        is_public = not name.startswith("_") or (name in SPECIAL and not _is_made(cls))
        if is_public and function is not None and _is_ours(function):
            yield function


def _function(member: Any) -> Any:
    """The function that an attribute of a class stands for, if any."""
    found = getattr(member, "__wrapped__", getattr(member, "__func__", member))
    return found if inspect.isfunction(found) else None


def _is_made(cls: type) -> bool:
    """Its constructor does nothing but keep what it is given."""
    return attrs.has(cls) or issubclass(cls, Enum | BaseException)


def _is_ours(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).startswith("nexios_trio")
