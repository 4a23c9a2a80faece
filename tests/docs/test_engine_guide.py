"""The guide to writing an engine names all that the contract has."""

import inspect
from pathlib import Path

import pytest

from nexios_trio.engines.base import Engine, EngineState, HistoryPage
from nexios_trio.engines.receipt import Receipt

PAGE = (Path(__file__).parents[2] / "docs" / "guides" / "write-an-engine.md").read_text()
CONTRACT = [name for name in vars(Engine) if not name.startswith("_")]
FOR_ENGINES = ["settle", "fail", "is_watched"]


@pytest.mark.parametrize("name", [*CONTRACT, *FOR_ENGINES, HistoryPage.__name__, EngineState.__name__])
def test_the_guide_has(name: str) -> None:
    assert f"`{name}" in PAGE or f".{name}(" in PAGE


def test_what_engines_call_is_there() -> None:
    assert all(inspect.getattr_static(Receipt, name, None) is not None for name in FOR_ENGINES)
