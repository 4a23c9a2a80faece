"""Every import of the documents works, and a star import brings in what is public, no more."""

import importlib
import pkgutil
from types import ModuleType

import pytest

import nexios_trio

# As the documents write them, with the package's name for theirs.
IMPORTS = [
    "from nexios_trio import NexiosApp",
    "from nexios_trio import get_application",
    "from nexios_trio import status",
    "from nexios_trio.routing import Router",
    "from nexios_trio.routing import WSRouter",
    "from nexios_trio.routing import WebsocketRoute",
    "from nexios_trio.routing import WebsocketRoutes",
    "from nexios_trio.websockets import Channel, WebSocket",
    "from nexios_trio.websockets import ChannelGroup",
    "from nexios_trio.websockets import ChannelRegistry",
    "from nexios_trio.websockets import WebSocketDisconnect",
    "from nexios_trio.websockets.base import WebSocket",
    "from nexios_trio.websockets.base import WebSocketDisconnect",
    "from nexios_trio.websockets.channels import Channel, ChannelAddStatusEnum, ChannelBox",
    "from nexios_trio.websockets.channels import Channel, ChannelBox, PayloadTypeEnum",
    "from nexios_trio.websockets.channels import Channel, PayloadTypeEnum",
    "from nexios_trio.websockets.channels import ChannelBox, GroupSendStatusEnum",
    "from nexios_trio.websockets.channels import ChannelRemoveStatusEnum",
    "from nexios_trio.websockets.consumers import WebSocketConsumer",
    "from nexios_trio.websockets.consumers import WebSocketEndpoint",
]

# What users import from. Every other module is the package's own.
PUBLIC = [
    "nexios_trio",
    "nexios_trio.exceptions",
    "nexios_trio.http",
    "nexios_trio.routing",
    "nexios_trio.serving",
    "nexios_trio.status",
    "nexios_trio.testing",
    "nexios_trio.websockets",
    "nexios_trio.websockets.base",
    "nexios_trio.websockets.channels",
    "nexios_trio.websockets.consumers",
    "nexios_trio.websockets.middleware",
]


def star_import(module: str) -> dict[str, object]:
    names: dict[str, object] = {}
    exec(f"from {module} import *", names)
    del names["__builtins__"]
    return names


@pytest.mark.parametrize("statement", IMPORTS)
def test_an_import_of_the_documents(statement):
    exec(statement, {})


@pytest.mark.parametrize("module", PUBLIC)
def test_a_star_import_brings_in_what_is_public(module):
    names = star_import(module)
    assert sorted(names) == sorted(set(importlib.import_module(module).__all__))
    assert [name for name, value in names.items() if name.startswith("_") or isinstance(value, ModuleType)] == []


def test_a_public_name_is_the_same_thing_everywhere():
    things: dict[str, object] = {}
    for module in PUBLIC:
        for name, value in star_import(module).items():
            assert things.setdefault(name, value) is value, f"{module}.{name}"


def test_every_module_has_what_it_says():
    for found in pkgutil.walk_packages(nexios_trio.__path__, "nexios_trio."):
        if not found.name.endswith("__main__"):
            module = importlib.import_module(found.name)
            assert [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)] == [], found.name
