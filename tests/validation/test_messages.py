"""Declared message types: validated objects for the handler, clear answers for the peer, and the connection lives."""

import enum
import json
import subprocess
import sys
from typing import Annotated, Any, ClassVar, Literal, cast

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.websockets import Channel, InvalidMessage, WebSocketConsumer, valid_messages, validator
from tests.wire import house, settle


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class PydanticPlayer(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    name: str
    score: int = 0


class PydanticMove(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    type: Literal["move"]
    x: float
    players: list[PydanticPlayer] = []
    note: str | None = None


class MsgspecPlayer(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    score: int = 0


class MsgspecMove(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["move"]
    x: float
    players: list[MsgspecPlayer] = []
    note: str | None = None


@attrs.frozen
class AttrsPlayer:
    name: str
    score: int = 0


@attrs.frozen
class AttrsMove:
    type: Literal["move"]
    x: float
    players: list[AttrsPlayer] = attrs.field(factory=list)
    note: str | None = None


MOVES = [PydanticMove, MsgspecMove, AttrsMove]
moves = pytest.mark.parametrize("move", MOVES)


def problems_of(message_type: type, data: Any) -> list[dict[str, str]]:
    with pytest.raises(InvalidMessage) as caught:
        validator(message_type)(data)
    return caught.value.problems


@moves
def test_objects_are_made_of_what_is_valid(move):
    data = {"type": "move", "x": 1, "players": [{"name": "ann", "score": 2}], "note": None}
    made = validator(move)(data)
    assert isinstance(made, move)
    assert (made.type, made.x, made.note) == ("move", 1.0, None)
    assert (made.players[0].name, made.players[0].score) == ("ann", 2)


VALID = {"type": "move", "x": 1.5}


@moves
@pytest.mark.parametrize(
    ("data", "field", "problem"),
    [
        ({"type": "move"}, "x", "is missing"),
        ({**VALID, "x": "far"}, "x", "is a string|is str"),
        ({**VALID, "note": 3}, "note", "is a whole number|is int"),
        ({**VALID, "colour": "red"}, "colour", "is not known"),
        ({**VALID, "players": [{"name": "ann"}, {}]}, "players[1].name", "is missing"),
        ({**VALID, "players": {}}, "players", "is an object|is object"),
        ([1], "", "is an array|is array"),
        (None, "", "is null"),
    ],
)
def test_the_peer_is_told_the_field_what_was_wrong_and_what_is_accepted(move, data, field, problem):
    [found] = problems_of(move, data)
    assert found["field"].replace("[...]", "[1]") == field  # msgspec does not say which
    assert found["problem"] in problem.split("|")
    assert found["accepted"]


@moves
def test_a_wrong_tag_is_told(move):
    [found] = problems_of(move, {"type": "jump", "x": 1})
    assert found["field"] == "type"


@pytest.mark.parametrize("move", [PydanticMove, AttrsMove])
def test_all_problems_at_once(move):
    data = {"x": "far", "players": [{"name": 1, "score": "high"}]}
    assert sorted(one["field"] for one in problems_of(move, data)) == [
        "players[0].name",
        "players[0].score",
        "type",
        "x",
    ]


@moves
@pytest.mark.parametrize("data", [{}, [1], {**VALID, "players": 1}, {**VALID, "players": [7]}])
def test_nothing_of_the_program_is_told(move, data):
    text = json.dumps(problems_of(move, data))
    assert not [word for word in ("Move", "Player", "class", "pydantic", "msgspec", "attr", "tests") if word in text]


@moves
def test_the_answer_is_bounded(move):
    text = "ä\n" * 30_000
    for data in ({**VALID, "players": [{text: 1}] * 1000}, {**VALID, text: text}, {"type": text, "x": text}):
        with pytest.raises(InvalidMessage) as caught:
            validator(move)(data)
        assert len(json.dumps(caught.value.reply())) < 8000
        assert "\n" not in str(caught.value)


def test_more_problems_than_are_told_are_counted():
    reply = InvalidMessage([{"field": f"f{n}", "problem": "is missing"} for n in range(11)]).reply()
    assert [one["field"] for one in reply["details"]] == [f"f{n}" for n in range(8)]
    assert reply["more"] == 3


# ---------------------------------------------------------------- each library's own checks


def test_a_models_own_check_is_told():
    class Bid(pydantic.BaseModel):
        price: int = pydantic.Field(gt=0)

        @pydantic.field_validator("price")
        @classmethod
        def even(cls, price: int) -> int:
            if price % 2:
                raise ValueError("an even price")
            return price

    assert problems_of(Bid, {"price": 3}) == [
        {"field": "price", "problem": "is a whole number", "accepted": "an even price"}
    ]
    assert "greater than 0" in problems_of(Bid, {"price": 0})[0]["accepted"]


def test_a_structs_bounds_are_told():
    bid = msgspec.defstruct("Bid", [("price", Annotated[int, msgspec.Meta(ge=5)])])
    assert problems_of(bid, {"price": 1}) == [{"field": "price", "problem": "is out of bounds", "accepted": "int >= 5"}]


def test_validators_and_converters_of_attrs_classes():
    @attrs.frozen
    class Bid:
        price: int = attrs.field(validator=attrs.validators.ge(5))
        item: Any = attrs.field(default="", validator=attrs.validators.instance_of(str))
        _at: int = attrs.field(default=0, converter=int)
        colour: Colour = Colour.RED

        def __attrs_post_init__(self) -> None:
            if self.price == 13:
                raise ValueError("not 13")

    made = validator(Bid)({"price": 5, "at": "7", "colour": "blue"})
    assert (made.price, made._at, made.colour) == (5, 7, Colour.BLUE)
    assert problems_of(Bid, {"price": 1})[0]["field"] == "price"
    [found] = problems_of(Bid, {"price": 5, "item": 1})
    assert (found["field"], "class" in found["accepted"]) == ("item", False)
    assert problems_of(Bid, {"price": 13}) == [{"field": "", "problem": "is not accepted", "accepted": "not 13"}]
    assert problems_of(Bid, {"price": 5, "colour": "green"})[0]["accepted"] == "one of red, blue"


def test_attrs_annotations_of_every_kind():
    @attrs.define
    class All:
        flag: bool
        names: dict[str, int] | None
        items: list[str | int]
        anything: Any
        level: Literal[1, 2]
        bare: list
        nothing: None
        either: AttrsPlayer | None

    data = {
        "flag": True,
        "names": {"a": 1},
        "items": ["x", 1],
        "anything": {},
        "level": 2,
        "bare": [None],
        "nothing": None,
    }
    assert validator(All)({**data, "either": {"name": "ann"}}).either == AttrsPlayer("ann")
    wrong = {
        **data,
        "flag": 1,
        "names": {"a": "b"},
        "items": [1.5],
        "level": True,
        "bare": {},
        "nothing": 0,
        "either": {},
    }
    found = {one["field"]: one["accepted"] for one in problems_of(All, wrong)}
    assert found == {
        "flag": "true or false",
        "names.a": "a whole number",
        "items[0]": "a string or a whole number",
        "level": "one of 1, 2",
        "bare": "an array",
        "nothing": "null",
        "either.name": "this field is required",
    }


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
json_players = st.lists(
    st.fixed_dictionaries({}, optional={"name": st.text() | json_values, "score": json_values, "x": json_values}),
    max_size=2,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.just("move") | json_values,
            "x": json_values,
            "players": json_players | json_values,
            "note": json_values,
        },
    )
)
def test_the_three_libraries_agree_on_what_is_valid(data):
    """An attrs class is checked as strictly as the other two check."""

    def is_valid(move: type) -> bool:
        try:
            validator(move)(data)
        except InvalidMessage:
            return False
        return True

    assert is_valid(AttrsMove) == is_valid(MsgspecMove)
    if is_valid(AttrsMove):
        assert is_valid(PydanticMove)


# ---------------------------------------------------------------- what is refused at class definition


@pytest.mark.parametrize("wrong", [dict, int, object(), "Move", list[int], enum.Enum])
def test_another_message_type_is_refused_when_the_class_is_made(wrong):
    with pytest.raises(TypeError, match="a pydantic model, a msgspec Struct or an attrs class"):
        type("Consumer", (WebSocketConsumer,), {"message_type": wrong})


@pytest.mark.parametrize("encoding", ["text", "bytes"])
def test_another_encoding_is_refused_when_the_class_is_made(encoding):
    with pytest.raises(ValueError, match='encoding must be "json"'):
        type("Consumer", (WebSocketConsumer,), {"message_type": AttrsMove, "encoding": encoding})


def test_attrs_annotations_that_cannot_be_checked_are_refused_when_the_class_is_made():
    with pytest.raises(TypeError, match="cannot have .*converter"):
        validator(attrs.make_class("Odd", {"when": attrs.field(type=complex)}))
    with pytest.raises(TypeError, match="cannot be resolved"):
        validator(attrs.make_class("Odd", {"when": attrs.field(type=cast(Any, "Nowhere"))}))


def test_no_model_library_is_imported():
    code = "import sys, nexios_trio.websockets; print(*sorted({'pydantic', 'msgspec', 'cattrs'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == ""


# ---------------------------------------------------------------- over a connection


@moves
async def test_a_consumer_gets_objects_and_an_invalid_message_is_answered(move):
    seen = []

    class Game(WebSocketConsumer):
        message_type = move

        async def on_receive(self, websocket, data):
            seen.append(data)
            await websocket.send_json({"x": data.x})

    async with house() as inside:
        wire = await inside.connect(Game())
        wire.say('{"type":"move","x":1}', '{"type":"move"}', "no JSON", b'{"type":"move","x":2}')
        await settle()
        first, missing, broken, last = wire.json
        assert wire.closes == []
    assert (first, last) == ({"x": 1}, {"x": 2})
    assert missing["error"] == broken["error"] == "invalid message"
    assert missing["details"][0]["field"] == "x"
    assert broken["details"] == [{"field": "", "problem": "is not JSON", "accepted": "a JSON object"}]
    assert [type(one) for one in seen] == [move, move]


async def test_bad_utf8_still_ends_the_connection():
    class Game(WebSocketConsumer):
        message_type = AttrsMove

    async with house() as inside:
        wire = await inside.connect(Game())
        wire.say(b'"\xff"')
        await settle()
        assert wire.closes == [(1007, "the message is not json")]


async def test_a_subclass_may_answer_otherwise_or_declare_nothing():
    class Game(WebSocketConsumer):
        message_type: ClassVar[Any] = AttrsMove

        async def on_invalid(self, websocket, error):
            await websocket.close(1008, f"{error.problems[0]['field']} is wrong")

    class Anything(Game):
        message_type: ClassVar[Any] = None

        async def on_receive(self, websocket, data):
            await websocket.send_json(data)

    async with house() as inside:
        strict = await inside.connect(Game())
        lenient = await inside.connect(Anything())
        strict.say('{"type":"move"}')
        lenient.say('{"type":"move"}')
        await settle()
        assert strict.closes == [(1008, "x is wrong")]
        assert lenient.json == [{"type": "move"}]


@pytest.mark.parametrize("wrap", [lambda ws: ws, Channel])
async def test_iterating_over_valid_messages(wrap):
    got = []

    async def handler(ws):
        await ws.accept()
        async for move in valid_messages(wrap(ws), MsgspecMove):
            got.append(move.x)
        got.append("over")

    async with house() as inside:
        wire = await inside.connect(handler)
        wire.say('{"type":"move","x":1}', "[", '{"type":"move","x":"y"}', '{"type":"move","x":2}')
        await settle()
        assert [one["details"][0]["problem"] for one in wire.json] == ["is not JSON", "is str"]
        wire.leave()
        await settle()
    assert got == [1.0, 2.0, "over"]


async def test_a_mistake_in_the_handler_is_not_taken_for_an_invalid_message(caplog):
    class Game(WebSocketConsumer):
        message_type = AttrsMove

        async def on_receive(self, websocket, data):
            raise InvalidMessage([{"field": "x", "problem": "planted"}])

    async with house() as inside:
        wire = await inside.connect(Game())
        wire.say('{"type":"move","x":1}')
        await settle()
        assert wire.closes[0][0] == 1011
        assert wire.messages == []
