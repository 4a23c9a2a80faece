"""Request paths are checked, patterns match by segment, an encoded slash stays inside its segment."""

import re
from urllib.parse import quote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.convertors import CONVERTOR_TYPES, Convertor, register_url_convertor

from nexios_trio.routing.paths import ENCODED_SLASH, BadPath, PathPattern, join, request_path


def scope(path: str, raw: str | bytes | None = None, root: str = "") -> dict[str, object]:
    raw_path = raw.encode() if isinstance(raw, str) else raw
    return {"path": path, "raw_path": raw_path, "root_path": root}


@pytest.mark.parametrize("path", ["/", "/ws", "/ws/", "/a/b/c", "/räume/ü", "/a.b", "/...", "/.well-known/x", "/a b"])
def test_good_paths(path: str) -> None:
    assert request_path(scope(path)) == path
    assert request_path(scope(path, quote(path))) == path


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("/a\0b", None),
        ("/a\0b", "/a%00b"),
        ("/a\nb", "/a%0ab"),
        ("/a\x1bb", "/a%1bb"),
        ("/a\x7f", "/a%7F"),
        ("/a\x9b", "/a%C2%9B"),
        ("/a/../b", "/a/../b"),
        ("/a/../b", "/a/%2e%2E/b"),
        ("/a/..", None),
        ("/a/./b", "/a/./b"),
        ("/a/../../b", "/a%2f..%2F..%2fb"),
        ("/a\\..\\b", "/a%5c..%5cb"),
        ("//", "//"),
        ("//host/a", "//host/a"),
        ("/a//b", None),
        ("/a//", None),
        ("http://example.com/ws", "http://example.com/ws"),
        ("*", "*"),
        ("ws", "ws"),
        ("/\N{REPLACEMENT CHARACTER}", b"/%ff"),
        ("/\N{REPLACEMENT CHARACTER}", b"/\xff"),
    ],
)
def test_hostile_paths_are_refused(path: str, raw: str | bytes | None) -> None:
    with pytest.raises(BadPath):
        request_path(scope(path, raw))


def test_an_encoded_slash_never_crosses_a_segment() -> None:
    path = request_path(scope("/files/a/b", "/files/a%2Fb"))
    assert path == f"/files/a{ENCODED_SLASH}b"
    assert PathPattern("/files/{a}/{b}").match(path) is None
    assert PathPattern("/files/{rest:path}").match(path) is None
    assert PathPattern("/files/a/b").match(path) is None
    assert PathPattern("/files/{name}").match(path) == {"name": "a/b"}


def test_a_twice_encoded_slash_is_text() -> None:
    assert PathPattern("/{name}").match(request_path(scope("/a%2Fb", "/a%252Fb"))) == {"name": "a%2Fb"}


@pytest.mark.parametrize(
    ("path", "raw", "root", "expected"),
    [
        ("/sub/ws", "/sub/ws", "/sub", "/ws"),
        ("/sub", "/sub", "/sub", "/"),
        ("/sub/", "/sub/", "/sub", "/"),
        ("/sub/ws", None, "/sub", "/ws"),
        ("/subway", "/subway", "/sub", "/subway"),
        ("/ws", "/sub/ws", "/sub", "/ws"),  # an older server strips the path and leaves the raw one
        ("", "/sub", "/sub", "/"),
        ("/a/b", "/sub/a%2Fb", "/sub", f"/a{ENCODED_SLASH}b"),
        ("/rewritten", "/original", "", "/rewritten"),
        ("/ws", "/ws?token=1", "", "/ws"),
        ("/ws/", "/live/ws", "", "/ws"),  # Litestar strips the path and appends a slash
        ("/ws/", "/live/ws/", "", "/ws/"),
        ("/ws/", "/else", "", "/ws/"),
    ],
)
def test_root_paths(path: str, raw: str | None, root: str, expected: str) -> None:
    assert request_path(scope(path, raw, root)) == expected


@given(st.text("/.a~-_\n\\\0", max_size=8))
def test_where_nothing_is_encoded_the_raw_path_says_nothing_more(path: str) -> None:
    found: list[str | None] = []
    for raw in (None, path):
        try:
            found.append(request_path(scope(path, raw)))
        except BadPath:
            found.append(None)
    assert found[0] == found[1]
    assert found[0] in (None, path or "/")


@given(st.lists(st.text(min_size=1).filter(lambda s: s not in (".", "..")), min_size=1, max_size=4))
def test_whatever_a_segment_holds_it_stays_one_segment(segments: list[str]) -> None:
    try:
        raw = "/" + "/".join(quote(segment, safe="") for segment in segments)
    except UnicodeEncodeError:
        return  # a lone surrogate is in no URL
    try:
        path = request_path(scope("/" + "/".join(segments), raw))
    except BadPath:
        dots = re.compile(r"(^|[/\\])\.\.?($|[/\\])")
        assert any(dots.search(s) or re.search(r"[\x00-\x1f\x7f-\x9f]", s) for s in segments)
        return
    names = [f"p{index}" for index in range(len(segments))]
    pattern = PathPattern("".join(f"/{{{name}}}" for name in names))
    assert pattern.match(path) == dict(zip(names, segments, strict=True))


@pytest.mark.parametrize(
    ("pattern", "path", "params"),
    [
        ("/ws", "/ws", {}),
        ("/ws", "/ws/", None),
        ("/ws", "/wsfoo", None),
        ("/ws", "/WS", None),
        ("/a.b", "/axb", None),
        ("/{id:int}", "/42", {"id": 42}),
        ("/{id:int}", "/-1", None),
        ("/{id:int}", "/" + "9" * 5000, None),
        ("/{x:float}", "/1.5", {"x": 1.5}),
        ("/{x:float}", "/" + "9" * 400, None),
        ("/{u:uuid}", "/" + str(UUID(int=7)), {"u": UUID(int=7)}),
        ("/{u:uuid}", "/7", None),
        ("/{s:slug}", "/my-post_1", {"s": "my-post_1"}),
        ("/{s:slug}", "/my post", None),
        ("/{s:slug}", "/ä", None),
        ("/{s:str}", "/a", {"s": "a"}),
        ("/{s}", "/", None),
        ("/f/{p:path}", "/f/a/b.txt", {"p": "a/b.txt"}),
        ("/f/{p:path}/end", "/f/a/b/end", {"p": "a/b"}),
        ("/{a}-{b:int}", "/x-y-3", {"a": "x-y", "b": 3}),
        ("/{a}", "/x\n", {"a": "x\n"}),  # such a path never gets here, and "$" would let it match without its end
    ],
)
def test_convertors(pattern: str, path: str, params: dict[str, object] | None) -> None:
    assert PathPattern(pattern).match(path) == params


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("ws", "begins with a slash"),
        ("/a//b", "empty segment"),
        ("/{id:integer}", "unknown convertor 'integer'.*accepted: float, int, path, slug, str, uuid"),
        ("/{a}/{a}", "'a' comes twice"),
        ("/{", "not written as"),
        ("/{1a}", "not written as"),
        ("/{a:}", "not written as"),
        ("/a}", "not written as"),
    ],
)
def test_patterns_that_are_none_are_refused(pattern: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        PathPattern(pattern)


def test_a_convertor_that_starlette_was_given_is_found() -> None:
    class EvenConvertor(Convertor[int]):
        regex = "[0-9]*[02468]"

        def convert(self, value: str) -> int:
            return int(value)

    register_url_convertor("even", EvenConvertor())
    try:
        pattern = PathPattern("/{n:even}")
    finally:
        del CONVERTOR_TYPES["even"]
    assert (pattern.match("/12"), pattern.match("/13")) == ({"n": 12}, None)


def test_join() -> None:
    assert [join("", "/"), join("", ""), join("/ws", "/"), join("/ws", ""), join("/ws", "/ws")] == [
        "/",
        "/",
        "/ws",
        "/ws",
        "/ws/ws",
    ]
