"""What JSON can carry, it carries anywhere: alone, beside other values, as a key; integers are exact or refused."""

import dataclasses
import inspect
import json
import math
import sys
from collections import defaultdict, namedtuple
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from itertools import permutations
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.core.json import decode_json, encode_json
from nexios_trio.exceptions import InvalidJson, PayloadError


class Colour(Enum):
    RED = "red"


class Large(Enum):
    GOOGOL = 10**100


class Level(IntEnum):
    HIGH = 3


class Name(StrEnum):
    ANN = "ann"


@dataclasses.dataclass
class Point:
    x: int
    y: float


@attrs.frozen
class Money:
    amount: Decimal


Pair = namedtuple("Pair", "a b")  # the plain one is what is meant
NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
ALONE = {
    "datetime": NOW,
    "naive datetime": NOW.replace(tzinfo=None),
    "date": NOW.date(),
    "time": time(3, 4),
    "uuid": UUID(int=1),
    "enum": Colour.RED,
    "large enum": Large.GOOGOL,
    "int enum": Level.HIGH,
    "str enum": Name.ANN,
    "dataclass": Point(1, 2.0),
    "large dataclass": Point(2**70, 2.0),
    "integer": 2**70,
    "negative": -(2**70),
    "namedtuple": Pair(1, 2),
    "defaultdict": defaultdict(int, a=1),
    "uuid key": {UUID(int=1): 1},
    "date key": {date(2024, 1, 2): 1},
    "datetime key": {NOW: 1},
    "enum key": {Colour.RED: 1},
    "large key": {2**70: 1},
    "bool key": {True: 1},
    "None key": {None: 1},
    "float": 1.5,
}


@pytest.mark.parametrize("one", ALONE)
def test_what_may_be_sent_alone_may_be_sent_beside_anything(one):
    alone = json.loads(encode_json(ALONE[one]))
    for other, value in ALONE.items():
        beside = json.loads(encode_json({"one": ALONE[one], "all": [value, {"deep": ALONE[one]}]}))
        assert beside == {"one": alone, "all": [json.loads(encode_json(value)), {"deep": alone}]}, other


def test_values_are_written_the_same_way_alone_and_together():
    for value in ALONE.values():
        assert json.loads(encode_json([value, 2**70]))[0] == json.loads(encode_json(value))


@given(st.integers())
def test_integers_come_back_as_they_went(number):
    decoded = decode_json(encode_json([number]), 8)[0]
    assert decoded == number
    assert type(decoded) is int


@pytest.mark.parametrize(
    "number", [2**63, -(2**63) - 1, 2**64 - 1, 2**64, -(2**64), 10**30, 9223372036854775808, -9223372036854775809]
)
@pytest.mark.parametrize("text", ["{}", "[{}]", ' {{"a": [{{"b" : {} }}]}} ', "[1.5,{}]", '["1e5",{}]'])
def test_integers_beyond_64_bits_are_exact_when_received(number, text):
    message = text.format(number)
    for form in (message, message.encode()):
        assert decode_json(form, 8) == json.loads(message)


@pytest.mark.parametrize(
    "text",
    ["0.12345678901234567890123", "12345678901234567890123.5", "12345678901234567890e3", "1e-12345678901234567890"],
)
def test_long_floats_stay_floats(text):
    assert decode_json(text, 8) == float(text)
    assert type(decode_json(f"[{text}]", 8)[0]) is float


def test_more_digits_than_python_reads_are_no_number_inside_a_text():
    text = f"see, {'9' * 5000} , and so on"
    for message in (json.dumps([text]), json.dumps([text]).encode()):
        assert decode_json(message, 8) == [text]


def test_a_large_integer_deeper_than_the_stack_is_an_error_of_the_message():
    deep = "[" * 900 + str(2**70) + "]" * 900

    def further_down(levels):
        return decode_json(deep, 1000) if not levels else further_down(levels - 1)

    levels = sys.getrecursionlimit() - len(inspect.stack(0)) - 100
    if sys.version_info >= (3, 12):  # C code has a limit of its own there, which is higher
        value = further_down(levels)
        for _ in range(900):
            [value] = value
        assert value == 2**70
    else:
        with pytest.raises(InvalidJson, match="deep"):
            further_down(levels)


def test_digits_in_a_text_are_no_number():
    assert decode_json('{"card": "12345678901234567890123"}', 8) == {"card": "12345678901234567890123"}


@pytest.mark.parametrize("digits", [310, 4000, 5000])
def test_an_integer_beyond_what_a_float_holds_is_refused(digits):
    for form in ("9" * digits, ("9" * digits).encode()):
        with pytest.raises(InvalidJson, match="infinity"):
            decode_json(form, 8)


def test_depth_is_bounded_beside_large_integers_too():
    with pytest.raises(InvalidJson, match="more than 8 levels deep"):
        decode_json("[" * 9 + str(2**70) + "]" * 9, 8)


# ---------------------------------------------------------------- what JSON refuses, and what it takes

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_json_comes_back(value):
    assert json.loads(encode_json(value)) == value


def test_json_is_compact_utf8():
    assert encode_json({"a": [1, "ä"]}) == '{"a":[1,"ä"]}'.encode()


def test_json_knows_more_than_the_standard_library():
    assert encode_json({1: datetime(2024, 1, 2, tzinfo=UTC)}) == b'{"1":"2024-01-02T00:00:00+00:00"}'


def test_integers_beyond_64_bits_are_exact():
    assert encode_json({"n": 2**80}) == b'{"n":%d}' % 2**80


@dataclasses.dataclass
class Place:
    x: float


class Limit(Enum):
    ENDLESS = math.inf


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "around",
    [
        lambda number: number,
        lambda number: [1, [number]],
        lambda number: (number,),
        lambda number: {"a": {"b": number}},
        lambda number: {number: 1},
        lambda number: [None, Place(number)],
        lambda number: {"big": 2**80, "n": number},
    ],
)
def test_json_refuses_numbers_that_are_not_finite(number, around):
    with pytest.raises(ValueError, match="finite|compliant"):
        encode_json(around(number))


def test_json_refuses_an_enum_member_that_is_not_finite():
    with pytest.raises(ValueError, match="finite"):
        encode_json([Limit.ENDLESS])


def test_null_is_json():
    assert encode_json({"a": None, "b": "null", "c": [1.5, Place(2.0)]}) == b'{"a":null,"b":"null","c":[1.5,{"x":2.0}]}'


def endless_list():
    inner = []
    inner.append(inner)
    return inner


def deep_list():
    value = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize("wrong", [object(), {"a": {1, 2}}, [b"bytes"], "\ud800", {"\udfff": 1}, {"a": print}])
def test_json_refuses_what_it_cannot_carry(wrong):
    with pytest.raises(ValueError, match="JSON|surrogate"):
        encode_json(wrong)


@pytest.mark.parametrize("make", [endless_list, deep_list])
def test_json_refuses_what_never_ends(make):
    with pytest.raises(ValueError, match="Circular|deep"):
        encode_json(make())


# ---------------------------------------------------------------- what JSON does not know

FOREIGN = [Decimal("1.5"), Fraction(1, 2), Money(Decimal(3)), {1, 2}, 1j, object]


@pytest.mark.parametrize("value", FOREIGN, ids=str)
@pytest.mark.parametrize("beside", [None, 2**70, {2**70: 1}], ids=str)
def test_what_json_does_not_know_is_refused_by_its_type(value, beside):
    with pytest.raises(PayloadError, match=type(value).__name__):
        encode_json({"a": [value], "b": beside})


def as_text(value):
    if isinstance(value, Decimal | Fraction):
        return str(value)
    if isinstance(value, Money):
        return attrs.asdict(value, recurse=False)
    if isinstance(value, set):
        return sorted(value)
    raise TypeError(f"no {type(value).__name__} here")


@pytest.mark.parametrize("beside", [None, 2**70, {2**70: 1}], ids=str)
def test_an_encoder_hook_makes_json_of_anything(beside):
    values = [Decimal("1.5"), {"half": Fraction(1, 2)}, Money(Decimal(3)), {2, 1}]
    data = json.loads(encode_json([values, beside], as_text))
    assert data[0] == ["1.5", {"half": "1/2"}, {"amount": "3"}, [1, 2]]


@pytest.mark.parametrize("beside", [None, 2**70], ids=str)
def test_what_the_hook_refuses_is_refused(beside):
    with pytest.raises(PayloadError, match="no complex here"):
        encode_json([1j, beside], as_text)


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("beside", [None, 2**70], ids=str)
def test_the_hook_cannot_let_in_what_is_no_number(number, beside):
    with pytest.raises(PayloadError, match="finite"):
        encode_json([Decimal(1), beside], lambda value: [number])


@pytest.mark.parametrize("beside", [None, 2**70], ids=str)
def test_a_hook_that_gives_back_what_it_got_ends(beside):
    with pytest.raises(PayloadError):
        encode_json([Decimal(1), beside], lambda value: value)


@pytest.mark.parametrize("order", list(permutations([2**70, NOW, Pair(1, 2)])), ids=str)
def test_the_order_does_not_matter(order):
    assert json.loads(encode_json(list(order))) == [json.loads(encode_json(value)) for value in order]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite_beside_large_integers_too(number):
    for payload in ([number, 2**70], {"a": {number: 2**70}}, [Point(2**70, number)]):
        with pytest.raises(PayloadError, match="finite"):
            encode_json(payload)


def test_a_cycle_is_refused_beside_large_integers_too():
    cycle = [2**70]
    cycle.append(cycle)
    with pytest.raises(PayloadError, match="nested too deeply"):
        encode_json(cycle)
