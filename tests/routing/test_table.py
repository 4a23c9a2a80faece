"""A search through the table finds what trying every row in order would find."""

from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.routing.paths import PathPattern
from nexios_trio.routing.table import Table

TEXTS = ["/", "/a", "/b", "/a/b", "/{x}", "/a/{x}", "/{x}/b", "/{p:path}", "/{n:int}", "/1"]
PATHS = ["/", "/a", "/b", "/c", "/a/b", "/a/c", "/c/b", "/1", "/1/b", "/a/b/c"]


@given(st.lists(st.sampled_from(TEXTS)), st.sampled_from(PATHS))
def test_order_of_registration(texts: list[str], path: str) -> None:
    patterns = [PathPattern(text) for text in texts]
    table = Table([(pattern, index) for index, pattern in enumerate(patterns)])
    matches = [(index, pattern.match(path)) for index, pattern in enumerate(patterns)]
    assert list(table.matches(path)) == [(index, params) for index, params in matches if params is not None]


def test_rows_keep_their_order() -> None:
    table = Table([(PathPattern("/b"), "b"), (PathPattern("/{x}"), "x")])
    assert table.rows == ("b", "x")
