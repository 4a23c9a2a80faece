"""Any sequence of joins, leaves, sends, expiry and disconnects, against a model of three dicts.

Real connections over an in-memory wire, in virtual time: one trio run per example.
"""

from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from nexios_trio.websockets import Channel
from tests.wire import Wire, house, settle

MEMBERS, GROUPS = range(4), ("red", "blue")
LIFE = 10.0  # seconds that the odd members live; the even ones live for ever

member = st.sampled_from(MEMBERS)
group = st.sampled_from(GROUPS)
operation = st.one_of(
    st.tuples(st.just("join"), member, group),
    st.tuples(st.just("leave"), member, group),
    st.tuples(st.just("send"), group),
    st.tuples(st.just("wait"), st.sampled_from((1.0, 4.0, 11.0))),
    st.tuples(st.just("disconnect"), member),
)


class Model:
    """Who is where, who has expired, and what everybody must have got."""

    def __init__(self) -> None:
        self.members: dict[str, list[int]] = {name: [] for name in GROUPS}
        self.expected: dict[int, list[int]] = {number: [] for number in MEMBERS}
        self.gone: set[int] = set()
        self.sent = 0

    def drop(self, number: int) -> None:
        for numbers in self.members.values():
            if number in numbers:
                numbers.remove(number)
        self.gone.add(number)


async def agree(operations: list[tuple[Any, ...]]) -> None:
    model = Model()
    channels: dict[int, Channel] = {}
    wires: dict[int, Wire] = {}
    async with house() as inside:

        async def serve(ws):
            number = int(ws.scope["path"].strip("/"))
            await ws.accept()
            channels[number] = Channel(ws, expires=LIFE if number % 2 else None)
            async for _ in ws:
                pass

        for number in MEMBERS:
            wires[number] = await inside.connect(serve, f"/{number}")
        await settle()
        ends_at = trio.current_time() + LIFE
        for what, *arguments in operations:
            match what, arguments:
                case "join", [number, name] if number not in model.gone:
                    await inside.box.add_channel_to_group(channels[number], name)
                    if number not in model.members[name]:
                        model.members[name].append(number)
                case "leave", [number, name] if number not in model.gone:
                    await inside.box.remove_channel_from_group(channels[number], name)
                    if number in model.members[name]:
                        model.members[name].remove(number)
                case "send", [name]:
                    model.sent += 1
                    await inside.box.group_send(name, model.sent)
                    for number in model.members[name]:
                        model.expected[number].append(model.sent)
                case "wait", [seconds]:
                    await trio.sleep(seconds)
                    if trio.current_time() >= ends_at:
                        for number in MEMBERS:
                            if number % 2:
                                model.drop(number)
                case "disconnect", [number] if number not in model.gone:
                    wires[number].leave()
                    model.drop(number)
            await settle()
            groups = await inside.box.show_groups()
            shown = {name: [n for n in MEMBERS if channels[n] in groups.get(name, {})] for name in GROUPS}
            assert shown == {name: sorted(numbers) for name, numbers in model.members.items()}
        assert {number: wire.json for number, wire in wires.items()} == model.expected


@settings(max_examples=150)
@given(st.lists(operation, max_size=25))
def test_the_box_agrees_with_a_model(operations):
    trio.run(agree, operations, clock=MockClock(autojump_threshold=0))
