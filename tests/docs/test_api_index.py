"""The index of the public API is complete, true, and becomes a page."""

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nexios_trio

DOCS = Path(__file__).parents[2] / "docs"
SPEC = importlib.util.spec_from_file_location("api_index", DOCS / "api_index.py")
assert SPEC is not None
assert SPEC.loader is not None
api_index: Any = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(api_index)

INDEX = api_index.load()
ENTRIES = list(api_index.entries(INDEX))
PUBLIC = [
    "nexios_trio",
    *(
        f"nexios_trio.{name}"
        for name in ("application", "cli", "exceptions", "http", "logs", "publisher", "routing", "serving")
    ),
    *(f"nexios_trio.{name}" for name in ("status", "testing", "websockets")),
    *(f"nexios_trio.websockets.{name}" for name in ("base", "channels", "consumers", "middleware")),
]

entries = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry['module']}.{entry['names'][0]}")


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_in_the_index(module: str) -> None:
    listed = {
        name
        for entry in ENTRIES
        if module in (entry["module"], *entry.get("also", ()))
        for name in api_index.names_of(entry)
    }
    missing = sorted(set(importlib.import_module(module).__all__) - listed)
    assert missing == [], "to be added to docs/api-index.toml"


@entries
def test_every_name_of_the_index_exists(entry: Any) -> None:
    for module in (entry["module"], *entry.get("also", ())):
        assert [name for name in api_index.names_of(entry) if not api_index.exists(module, name)] == []


@entries
def test_a_name_is_the_same_object_wherever_it_is_imported_from(entry: Any) -> None:
    """Also where the code lives elsewhere: `isinstance` and `except` do not ask which path somebody took."""
    there = importlib.import_module(entry["module"])
    for module in entry.get("also", ()):
        also = importlib.import_module(module)
        outer = {name.partition(".")[0] for name in api_index.names_of(entry)}
        assert [name for name in sorted(outer) if getattr(also, name) is not getattr(there, name)] == []


def test_the_server_is_importable_from_its_documented_path() -> None:
    serving, server = (importlib.import_module(f"nexios_trio.{name}") for name in ("serving", "server"))
    assert {"serve", "ServerError", "StartupFailed", "ApplicationFailed", "ShutdownFailed"} <= set(serving.__all__)
    assert [name for name in serving.__all__ if getattr(serving, name) is not getattr(server, name)] == []


def test_the_configuration_for_hypercorn_is_importable_from_its_documented_path() -> None:
    """In a process of its own: importing it guards hypercorn's classes, which other tests want as they are."""
    program = (
        "import importlib, nexios_trio.serving.hypercorn_config as named\n"
        "loaded = importlib.import_module('nexios_trio.serving.hypercorn_config')\n"
        "from nexios_trio.server.hypercorn import config\n"
        "assert named is loaded is config, (named, loaded, config)\n"
        "from hypercorn.config import Config\n"
        "print(Config.from_object('nexios_trio.serving.hypercorn_config').worker_class)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "trio\n", "")


def test_no_name_has_two_entries() -> None:
    names = [(entry["module"], name) for entry in ENTRIES for name in api_index.names_of(entry)]
    assert sorted({name for name in names if names.count(name) > 1}) == []


@entries
def test_an_entry_says_what_it_has_to(entry: Any) -> None:
    if entry["from"] == "new":
        assert set(entry) <= {"module", "also", "names", "from", "what"}
        assert entry["what"]
        return
    assert set(entry) <= {"module", "also", "names", "from", "same", "differs", "why"}
    assert entry["from"]
    assert set(entry["from"]) <= set(INDEX["documents"]) == {"000", "001", "002", "003", "004"}
    assert entry["same"]
    assert ("differs" in entry) == ("why" in entry)


def test_the_page_has_every_name_and_every_reason() -> None:
    page = api_index.render(INDEX)
    for entry in ENTRIES:
        shown = [f"`{entry['module']}`"] if entry["names"] == ["*"] else [f"`{name}`" for name in entry["names"]]
        assert [text for text in (*shown, entry.get("why", "")) if text not in page] == []
    assert "{api-index}" in (DOCS / "guides" / "from-nexios.md").read_text(encoding="utf-8")


def test_a_name_that_is_not_there_is_noticed() -> None:
    assert api_index.exists("nexios_trio", "Channel.uuid")
    assert not api_index.exists("nexios_trio", "Channel.nothing")
    assert not api_index.exists("nexios_trio", "Nothing")
    assert not hasattr(nexios_trio, "Nothing")
