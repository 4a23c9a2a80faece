"""attrs classes from decoded JSON, by their annotations. Strict: nothing is coerced but an int where a float is asked.

A converter is made once per class, a tree of small functions; each takes a value and its path, notes problems in a list
and goes on, so that a peer hears of all of them at once.
"""

import enum
import re
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs

from ..exceptions import InvalidMessage
from .problems import JSON_NAMES, Problems, describe, missing, unknown

__all__ = ["attrs_validator"]

C = TypeVar("C")
Convert = Callable[[Any, str, Problems], Any]

_NAMED = re.compile(r"'(\w+)' ")
_CLASS_REPR = re.compile(r"<(?:class|enum) '(?:[\w.<>]*\.)?(\w+)'>")


def attrs_validator(cls: type[C]) -> Callable[[Any], C]:
    """A function from decoded JSON to an instance of an attrs class. It raises `InvalidMessage`.

    Raises: TypeError for annotations that it cannot check.
    """
    convert = _of_class(cls, ())

    def validate(data: Any) -> C:
        problems: Problems = []
        made: C = convert(data, "", problems)
        if problems:
            raise InvalidMessage(problems)
        return made

    return validate


def _of_class(cls: type[Any], outer: tuple[type[Any], ...]) -> Convert:
    if cls in outer:
        raise TypeError(
            f"{cls.__name__} contains itself: message types of attrs must not; pydantic's and msgspec's may"
        )
    try:
        hints = typing.get_type_hints(cls)
    except NameError as error:
        raise TypeError(f"an annotation of {cls.__name__} cannot be resolved: {error}") from error
    fields = {field.alias or field.name: field for field in attrs.fields(cls) if field.init}
    converts = {
        name: _anything if field.converter is not None else _of(hints.get(field.name, Any), (*outer, cls))
        for name, field in fields.items()
    }
    required = [name for name, field in fields.items() if field.default is attrs.NOTHING]

    def convert(value: Any, path: str, problems: Problems) -> Any:
        if not isinstance(value, dict):
            return _note(problems, path, value, "an object")
        found = len(problems)
        for name in required:
            if name not in value:
                problems.append(missing(_inside(path, name)))
        accepted = f"the fields {', '.join(fields)}"
        problems.extend(unknown(_inside(path, name), accepted) for name in value if name not in fields)
        given = {
            name: convert_field(value[name], _inside(path, name), problems)
            for name, convert_field in converts.items()
            if name in value
        }
        return _make(cls, given, path, problems) if len(problems) == found else None

    return convert


def _make(cls: type[Any], given: dict[str, Any], path: str, problems: Problems) -> Any:
    """Validators and converters of the class have their say here; what they raise names the field as far as it can."""
    try:
        return cls(**given)
    except (ValueError, TypeError) as error:
        text = error.args[0] if error.args and isinstance(error.args[0], str) else ""
        named = _NAMED.match(text)  # as the validators of attrs begin: 'price' must be >= 5: 3
        fields = {field.name: field.alias or field.name for field in attrs.fields(cls)}
        field = fields.get(named[1]) if named else None
        accepted = _CLASS_REPR.sub(r"\1", text)
        where = path if field is None else _inside(path, field)
        problems.append({"field": where, "problem": "is not accepted", "accepted": accepted})
        return None


def _of(hint: Any, outer: tuple[type[Any], ...]) -> Convert:
    """Return what converts values of an annotation."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any or hint is object:
        return _anything
    if origin in (Union, types.UnionType):
        return _of_union([_of(arg, outer) for arg in args])
    if origin is Literal:
        return _of_values({arg: arg for arg in args})
    if hint is list or (origin is list and args):
        return _of_list(_of(args[0], outer) if args else _anything)
    if hint is dict or (origin is dict and args and args[0] is str):
        return _of_dict(_of(args[1], outer) if args else _anything)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _of_values({member.value: member for member in hint})
    if isinstance(hint, type) and attrs.has(hint):
        return _of_class(hint, outer)
    if hint is None or hint in (str, int, float, bool, type(None)):
        return _of_scalar(type(None) if hint is None else hint)
    raise TypeError(
        f"messages of an attrs class cannot have {hint!r}: annotate str, int, float, bool, None, Any, an enum, "
        "Literal, a union, list[...], dict[str, ...] or an attrs class, or give the field a converter"
    )


def _anything(value: Any, path: str, problems: Problems) -> Any:
    return value


def _of_scalar(kind: type[Any]) -> Convert:
    def convert(value: Any, path: str, problems: Problems) -> Any:
        if kind is float and type(value) is int:
            return float(value)
        return value if type(value) is kind else _note(problems, path, value, JSON_NAMES[kind])

    return convert


def _of_values(values: dict[Any, Any]) -> Convert:
    accepted = "one of " + ", ".join(map(str, values))
    kinds = {type(value) for value in values}

    def convert(value: Any, path: str, problems: Problems) -> Any:
        if type(value) in kinds and value in values:
            return values[value]
        return _note(problems, path, value, accepted)

    return convert


def _of_list(convert_one: Convert) -> Convert:
    def convert(value: Any, path: str, problems: Problems) -> Any:
        if not isinstance(value, list):
            return _note(problems, path, value, "an array")
        return [convert_one(one, f"{path}[{index}]", problems) for index, one in enumerate(value)]

    return convert


def _of_dict(convert_one: Convert) -> Convert:
    def convert(value: Any, path: str, problems: Problems) -> Any:
        if not isinstance(value, dict):
            return _note(problems, path, value, "an object")
        return {key: convert_one(one, _inside(path, key), problems) for key, one in value.items()}

    return convert


def _of_union(choices: list[Convert]) -> Convert:
    def convert(value: Any, path: str, problems: Problems) -> Any:
        tried: list[Problems] = []
        for choice in choices:
            found: Problems = []
            made = choice(value, path, found)
            if not found:
                return made
            tried.append(found)
        inner = [found for found in tried if any(one["field"] != path for one in found)]
        if len(inner) == 1:  # the one that fits in kind: its own problems say more
            problems.extend(inner[0])
            return None
        accepted = dict.fromkeys(one["accepted"] for found in tried for one in found if one["field"] == path)
        return _note(problems, path, value, " or ".join(accepted))

    return convert


def _note(problems: Problems, path: str, value: Any, accepted: str) -> None:
    problems.append({"field": path, "problem": f"is {describe(value)}", "accepted": accepted})


def _inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
