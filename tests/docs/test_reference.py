"""Every public name is in the reference."""

import importlib
import importlib.util
import re
import zlib
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SPEC = importlib.util.spec_from_file_location("api_index", DOCS / "api_index.py")
assert SPEC is not None
assert SPEC.loader is not None
api_index: Any = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(api_index)

# Modules that one sentence says enough of.
IN_A_SENTENCE = {"nexios_trio.status", "nexios_trio.logs", "nexios_trio.cli"}
IN_SENTENCES = {
    *("WebsocketRoutes", "WebSocketRoute", "WebSocketEndpoint"),  # other names of what is there
    *("NexiosApp.websocket", "Router.websocket"),
    *("TRANSPORT_EXTENSION", "serve_request"),  # for servers, and for those who make applications
    *("Middleware", "Next"),  # types of what the page describes
}


def inventory(file: Path) -> set[str]:
    """The names that a page of the built documentation describes."""
    header = 4  # lines; what follows is compressed
    lines = zlib.decompress(file.read_bytes().split(b"\n", header)[header]).decode().splitlines()
    return {name for name, kind in (line.split()[:2] for line in lines) if kind.startswith("py:")}


def is_mentioned(module: str, name: str) -> bool:
    """An attribute that a class's own docstring, or a page, has in a list of them."""
    cls, _, attribute = name.partition(".")
    docstring = getattr(importlib.import_module(module), cls).__doc__ or ""
    texts = [docstring, *(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))]
    return bool(attribute) and any(re.search(rf"`?\b{attribute}`?\b", text) for text in texts)


@pytest.mark.slow  # where the pages have to be built
def test_every_public_name_is_in_the_reference(html: Path) -> None:
    there = inventory(html / "objects.inv")
    missing = []
    for entry in api_index.entries(api_index.load()):
        modules = [entry["module"], *entry.get("also", ())]
        if entry["module"] in IN_A_SENTENCE:
            continue
        for name in api_index.names_of(entry):
            # A router's methods are those of an application.
            as_documented = name.replace("Router.", "NexiosApp.")
            is_there = any(f"{module}.{as_documented}" in there for module in modules)
            is_private = name.rpartition(".")[2].startswith("_")
            if not (is_there or is_private or name in IN_SENTENCES or is_mentioned(entry["module"], name)):
                missing.append(f"{entry['module']}.{name}")
    assert missing == []
