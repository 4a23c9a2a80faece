"""The path of a request, and the patterns it is matched with.

A path is taken apart where the client put its slashes: on the raw path, before percent-decoding. A slash that came
encoded is part of its segment; inside this package it is written `ENCODED_SLASH`, a character that no accepted path
contains, so that no pattern can take it for a separator.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from starlette.convertors import CONVERTOR_TYPES, Convertor

__all__ = ["CONVERTORS", "BadPath", "MountPattern", "PathPattern", "decoded", "join", "request_path"]

ENCODED_SLASH: Final = "\0"

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PLAIN: Final = re.compile(r"(?:/[\w~-][\w.~-]*)+/?|/", re.ASCII)  # nothing encoded, no segment with a dot in front
_SEPARATOR: Final = re.compile(r"[/\\]")
_PARAMETER: Final = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)(?::([a-zA-Z_][a-zA-Z0-9_]*))?\}")
_DOTS: Final = frozenset({".", ".."})


class BadPath(ValueError):
    """The request's path is refused with 400: no client that means well sends it."""


class _PathConvertor(Convertor[str]):
    """Several segments. An encoded slash does not match: it would become a separator."""

    regex = rf"[^{ENCODED_SLASH}]*"

    def convert(self, value: str) -> str:
        return value


class _SlugConvertor(Convertor[str]):
    """Letters, digits, hyphens and underscores, all ASCII."""

    regex = "[-a-zA-Z0-9_]+"

    def convert(self, value: str) -> str:
        return value


# `{name:convertor}`. What `starlette.convertors.register_url_convertor` adds is found as well.
CONVERTORS: Final[Mapping[str, Convertor[Any]]] = {"path": _PathConvertor(), "slug": _SlugConvertor()}


def request_path(scope: Mapping[str, Any]) -> str:
    """Return the path that `scope` asks this application for, checked, below `root_path`.

    Raises:
        BadPath: control characters, empty or dot segments, no leading slash, not UTF-8.
    """
    path: str = scope["path"]
    if not scope.get("root_path") and _PLAIN.fullmatch(path) and scope.get("raw_path") == path.encode():
        return path
    raw: bytes = (scope.get("raw_path") or b"").partition(b"?")[0]
    root: str = scope.get("root_path") or ""
    asked = _decode(raw)
    if raw and asked in (path, root.rstrip("/") + path):
        segments = [_decode(segment) for segment in raw.split(b"/")]
    else:  # no raw path, or a server in front of us has rewritten the other one
        if path.removesuffix("/") != path and asked.endswith(path[:-1]):
            path = path[:-1]  # which Litestar appends where an application is mounted
        segments = (path or "/").split("/")
    _check_segments(segments)
    return "/" + "/".join(map(_protect, _below(root, segments[1:])))


def _decode(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadPath("the path is not UTF-8") from None


def _check_segments(segments: list[str]) -> None:
    """`segments` of "/a/b" are "", "a", "b"; only the last one may also be empty."""
    if segments[0] or len(segments) < 2:
        raise BadPath("the path does not begin with a slash")
    if "" in segments[1:-1]:
        raise BadPath("the path has an empty segment")
    for segment in segments:
        if _CONTROL.search(segment):
            raise BadPath("the path has a control character")
        if "." in segment and not _DOTS.isdisjoint(_SEPARATOR.split(segment)):
            raise BadPath("the path has a dot segment")


def _below(root: str, segments: list[str]) -> list[str]:
    prefix = [part for part in root.split("/") if part]
    return segments[len(prefix) :] if prefix and segments[: len(prefix)] == prefix else segments


def _protect(segment: str) -> str:
    return segment.replace("/", ENCODED_SLASH)


def decoded(path: str) -> str:
    """Return what `request_path` gave, with encoded slashes as slashes: what ASGI's `path` is."""
    return path.replace(ENCODED_SLASH, "/")


def join(prefix: str, path: str) -> str:
    """Join the pattern of `path` below `prefix`, both as written by the programmer."""
    return prefix or "/" if path in ("", "/") else prefix + path


class PathPattern:
    """A path with parameters, as in ``/chat/{room}/{id:int}``, compiled.

    Args:
        open_end: a slash after the path also matches.
    Raises: ValueError: not a path, an unknown convertor, a parameter that comes twice.
    """

    __slots__ = ("_convertors", "_expression", "literal", "parameters", "text")

    def __init__(self, text: str, *, open_end: bool = False) -> None:
        if not text.startswith("/"):
            raise ValueError(f"a path begins with a slash, as in '/chat/{{room}}', not {text!r}")
        if "//" in text:
            raise ValueError(f"the path {text!r} has an empty segment: no request can match it")
        self.text = text
        self._convertors = dict(_parameters(text))
        self.parameters = frozenset(self._convertors)
        self._expression = re.compile(_expression(text, self._convertors) + ("/?" if open_end else ""))
        # What the path is, if it is always the same.
        self.literal: str | None = None if self._convertors or open_end else text

    def match(self, path: str) -> dict[str, Any] | None:
        """Return the values of the parameters, if `path` matches."""
        found = self._expression.fullmatch(path)
        return None if found is None else self._convert(found)

    def _convert(self, found: "re.Match[str]") -> dict[str, Any] | None:
        try:
            return {name: _convert(self._convertors[name], value) for name, value in found.groupdict().items()}
        except ValueError:  # such as an int with more digits than Python reads
            return None


class MountPattern(PathPattern):
    """A prefix, and every path below it: what another application is mounted at. An empty one is before all paths."""

    __slots__ = ("_prefix",)

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix or "/")
        self.text = prefix or "/"
        self.literal = None
        self._prefix = re.compile(_expression(prefix, self._convertors) + "(?=/|$)")

    def match(self, path: str) -> dict[str, Any] | None:
        found = self._prefix.match(path)
        return None if found is None else self._convert(found)

    def prefix_of(self, path: str) -> str:
        """Return how `path`, which matches, begins."""
        found = self._prefix.match(path)
        return "" if found is None else found[0]


def _convert(convertor: Convertor[Any], text: str) -> Any:
    value = convertor.convert(text.replace(ENCODED_SLASH, "/"))
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{text} is beyond the numbers")
    return value


def _parameters(text: str) -> Iterator[tuple[str, Convertor[Any]]]:
    seen: set[str] = set()
    for name, kind in _PARAMETER.findall(text):
        if name in seen:
            raise ValueError(f"the parameter {name!r} comes twice in {text!r}")
        seen.add(name)
        yield name, _convertor(kind or "str", text)
    if set("{}") & set(_PARAMETER.sub("", text)):
        raise ValueError(f"a parameter in {text!r} is not written as {{name}} or {{name:convertor}}")


def _convertor(kind: str, text: str) -> Convertor[Any]:
    convertor = CONVERTORS.get(kind) or CONVERTOR_TYPES.get(kind)
    if convertor is None:
        accepted = ", ".join(sorted({*CONVERTOR_TYPES, *CONVERTORS}))
        raise ValueError(f"unknown convertor {kind!r} in {text!r}; accepted: {accepted}")
    return convertor


def _expression(text: str, convertors: Mapping[str, Convertor[Any]]) -> str:
    parts: list[str] = []
    start = 0
    for found in _PARAMETER.finditer(text):
        name = found[1]
        parts += [re.escape(text[start : found.start()]), f"(?P<{name}>{convertors[name].regex})"]
        start = found.end()
    return "".join(parts) + re.escape(text[start:])
