"""`check_resume` passes what loses nothing, and finds what loses, doubles or keeps silent."""

import re
from functools import partial

import pytest

from nexios_trio import OLDEST, NexiosApp, open_channel
from nexios_trio.testing import Net, Unmet, World, check_resume, run
from nexios_trio.websockets import WebSocket

ROOM = "room"


def make(*, kept=1000, resumes=True, tells=True, doubles=False) -> NexiosApp:
    app = NexiosApp()
    if kept:
        app.box.keep(ROOM, max_messages=kept)

    @app.ws_route("/chat")
    async def chat(ws: WebSocket):
        since = ws.query_params.get("since", OLDEST) if resumes else None
        if doubles and isinstance(since, str):
            epoch, offset = since.split(":")
            since = f"{epoch}:{max(int(offset) - 1, 0)}"
        async with open_channel(ws, positions=True) as channel:
            if tells:

                @channel.on_gap
                async def tell(channel, group, after, upto):
                    await channel.send("gone")

            async with channel.member(ROOM, **({} if since is None else {"since": since})) as joined:
                if resumes and tells and not joined.recovered:
                    await channel.send("gone")
                async for _ in channel:
                    pass

    return app


def tells(message) -> bool:
    return message == {"data": "gone"}


async def checked(seed, *, nodes=2, faults=(), **options):
    async with World(make=partial(make, **options), nodes=nodes, seed=seed, net=Net(rtt=0.05, jitter=0.02)) as w:
        for when, fault, *args in faults:
            w.at(when, getattr(w, fault), *args)
        return await check_resume(w, "/chat", ROOM, tells=tells, breaks=15)


@pytest.mark.parametrize("seed", range(2))
def test_what_is_kept_is_not_lost(seed):
    report = run(checked, seed, seed=seed)
    assert report.breaks == 15
    assert report.resumed > 5
    assert report.messages > 20
    assert report.told == report.missing == 0


@pytest.mark.parametrize("seed", range(2))
def test_nor_by_links_that_break_and_servers_that_stop(seed):
    faults = [
        (5, "cut_engine", 0, 4.0),
        (20, "cut_engine", 1, 12.0),
        (40, "stall_node", 0, 3.0),
        (50, "stall_node", 1, 9.0),
        (65, "restart", 0),
        (80, "restart", 1),
    ]
    report = run(lambda: checked(seed, faults=faults), seed=seed)
    assert report.told == report.missing == 0


@pytest.mark.parametrize("seed", range(2))
def test_what_the_engine_loses_is_told(seed):
    faults = [(when, "lose_tail", 3) for when in range(5, 30, 5)]
    report = run(lambda: checked(seed, faults=faults), seed=seed)
    assert report.told >= 1


@pytest.mark.parametrize("seed", range(2))
def test_a_short_history_is_told(seed):
    report = run(lambda: checked(seed, kept=3), seed=seed)
    assert report.told > 0
    assert report.missing > 0


def test_it_repeats_itself():
    assert run(checked, 7, seed=7) == run(checked, 7, seed=7)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"resumes": False}, r"message \d+ came after message \d+: \[.*\] are missing, and nobody said so"),
        ({"kept": 3, "tells": False}, r"are missing, and nobody said so"),
        ({"doubles": True}, r"expected each message once, in order, but message (\d+) came after message \1"),
    ],
)
def test_a_mistake_is_found(options, text):
    with pytest.raises(Unmet, match=text) as caught:
        run(lambda: checked(1, **options), seed=1)
    assert re.search(r"World\(seed=1\)", "".join(caught.value.__notes__))


async def test_envelopes_in_a_world_name_their_group(autojump_clock):
    async with World(make(), nodes=1) as w, w.connect("/chat") as client:
        await w.settle()
        await w.nodes[0].app.box.group_send(ROOM, "hello")
        assert (await client.receive_json())["group"] == ROOM


async def test_bad_numbers_are_refused(autojump_clock):
    async with World(make()) as w:
        with pytest.raises(ValueError, match="breaks are 1 or more, not 0"):
            await check_resume(w, "/chat", ROOM, breaks=0)
