"""Every piece of code in the documents is run by some test here."""

import ast
from pathlib import Path

import pytest

from tests.documents.catalogue import CATALOGUE, PLACES, covers

HERE = Path(__file__).parent


def claimed() -> set[str]:
    """The places in all `covers` decorators of this directory, whatever part of it is being run."""
    return {
        ast.literal_eval(place)
        for file in HERE.glob("test_*.py")
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for decorator in function.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "covers"
        for place in decorator.args
    }


def test_the_catalogue_has_94_places():
    assert {document: len(places) for document, places in CATALOGUE.items()} == {
        "000": 12,
        "001": 14,
        "002": 27,
        "003": 9,
        "004": 32,
    }
    assert len(set(PLACES)) == 94


def test_every_place_is_covered():
    assert set(PLACES) - claimed() == set()


def test_a_place_that_is_in_no_document_is_refused():
    with pytest.raises(ValueError, match="of the catalogue"):
        covers("000 routes: by carrier pigeon")
