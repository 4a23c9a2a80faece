"""Who is present on three servers, in virtual time: links that are cut or stall, servers that restart."""

from collections import Counter
from contextlib import AsyncExitStack

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from nexios_trio import NexiosApp, open_channel
from nexios_trio.testing import World

GRACE, LEASE = 2.0, 9.0
TICK = LEASE / 3
LONG = LEASE + GRACE + TICK + 6  # all is told, also by a node whose link was lost, which asks again in 5 s at most
WATCHING = 2  # this node's watcher stays; it does not restart


def make_app():
    app = NexiosApp()
    app.box.keep_presence("room.*", grace=GRACE, lease=LEASE)

    @app.ws_route("/{user}")
    async def talk(ws, user):
        ws.scope["user"] = user
        async with open_channel(ws) as channel, channel.member("room.1"):
            await channel.send("in")
            async for info in channel:
                app.box.update_presence(channel, "room.1", info)

    return app


class House:
    """A world with a watcher, and clients that come and go."""

    def __init__(self, world):
        self.world = world
        self.told = []
        self.present = {}
        self.clients = []  # (node, user, what closes it)

    def box(self, node):
        return self.world.nodes[node].app.box

    async def watch(self, task_status=trio.TASK_STATUS_IGNORED):
        async with self.box(WATCHING).watch_presence("room.1") as changes:
            task_status.started()
            last = None
            async for change in changes:
                if last is not None and change.version.epoch == last.epoch:
                    assert change.version.offset >= last.offset
                last = change.version
                assert (change.kind == "joined") == (change.user not in self.present)
                if change.kind == "left":
                    del self.present[change.user]
                else:
                    self.present[change.user] = change.info
                self.told.append((change.kind, change.user))

    async def come(self, node, user):
        stack = AsyncExitStack()
        client = await stack.enter_async_context(self.world.connect(f"/{user}", node=node))
        self.clients.append((node, user, client, stack))
        with trio.move_on_after(20):
            assert await client.receive_json() == "in"

    async def go(self, index=-1):
        *_, stack = self.clients.pop(index)
        await stack.aclose()

    async def go_all(self):
        while self.clients:
            await self.go()

    def expected(self):
        return {user for _, user, client, _ in self.clients if client.end is None}

    async def check(self):
        """All nodes and the watcher agree with who is connected, once everything is told."""
        await trio.sleep(LONG)
        for node in range(3):
            found = {user.user: len(user.connections) for user in await self.box(node).presence("room.1")}
            assert found == Counter(user for _, user, client, _ in self.clients if client.end is None)
        await trio.testing.wait_all_tasks_blocked()
        assert set(self.present) == self.expected()


def play(scene, **options):
    async def run():
        async with World(make=make_app, nodes=3, clock=None, check=False, **options) as world:
            house = House(world)
            async with trio.open_nursery() as nursery:
                await nursery.start(house.watch)
                try:
                    await scene(house)
                finally:
                    with trio.CancelScope(shield=True):
                        await house.go_all()
                nursery.cancel_scope.cancel()

    trio.run(run, clock=MockClock(autojump_threshold=0))


def test_a_node_of_many_is_killed_and_each_of_them_leaves_once():
    async def scene(house):
        for number in range(50):
            await house.come(0, f"u{number}")
        await house.come(1, "ann")
        await house.come(0, "ann")
        await house.world.restart(0, down=60, kill=True)
        assert Counter(house.told) == {
            **{(kind, f"u{number}"): 1 for kind in ("joined", "left") for number in range(50)},
            ("joined", "ann"): 1,
        }

    play(scene)


def test_they_leave_within_lease_grace_and_a_tick():
    async def scene(house):
        await house.come(0, "ann")
        await trio.sleep(20)
        house.world.cut_engine(0, 100)
        await trio.sleep(LEASE - TICK - 0.1)
        assert house.told == [("joined", "ann")]
        await trio.sleep(TICK + GRACE + TICK + 0.2)
        assert house.told == [("joined", "ann"), ("left", "ann")]

    play(scene)


def test_a_link_that_is_back_within_the_lease_shows_nothing():
    async def scene(house):
        await house.come(0, "ann")
        await house.come(1, "bob")
        await trio.sleep(1)
        house.world.cut_engine(0, LEASE - TICK - 1)
        house.world.cut_engine(WATCHING, 5)
        await house.check()
        assert house.told == [("joined", "ann"), ("joined", "bob")]

    play(scene)


def test_a_node_whose_link_is_gone_past_its_lease_leaves_and_joins_anew():
    async def scene(house):
        await house.come(0, "ann")
        await house.come(1, "ann")
        await house.come(1, "bob")
        await trio.sleep(1)
        house.world.cut_engine(1, 3 * LEASE)
        await trio.sleep(2 * LEASE)
        assert house.told == [("joined", "ann"), ("joined", "bob"), ("left", "bob")]
        await house.go()  # bob, while nobody hears of it
        await house.come(1, "eve")
        await house.check()
        assert house.told[3:] == [("joined", "eve")]

    play(scene)


def test_what_is_left_while_the_link_is_down_is_told_when_it_is_back():
    async def scene(house):
        await house.come(0, "ann")
        await trio.sleep(1)
        house.world.cut_engine(0, 4)
        await house.go()
        assert house.told == [("joined", "ann")]
        await trio.sleep(4 + GRACE + 2)
        assert house.told == [("joined", "ann"), ("left", "ann")]

    play(scene)


def test_a_watcher_that_was_cut_off_is_told_what_changed():
    async def scene(house):
        await house.come(0, "ann")
        await house.come(0, "bob")
        await trio.sleep(1)
        house.world.cut_engine(WATCHING, 20)
        await house.go()
        await house.come(1, "eve")
        await trio.sleep(15)
        assert house.told == [("joined", "ann"), ("joined", "bob")]
        await house.check()
        assert sorted(house.told[2:]) == [("joined", "eve"), ("left", "bob")]

    play(scene)


def test_a_server_that_is_restarted_quickly_shows_nothing():
    async def scene(house):
        await house.come(0, "ann")
        await house.world.restart(0)
        await house.go()
        await house.come(0, "ann")
        await house.check()
        assert house.told == [("joined", "ann")]

    play(scene)


USERS = ("ann", "bob", "eve")
STEPS = st.one_of(
    st.tuples(st.just("come"), st.integers(0, 2), st.sampled_from(USERS)),
    st.tuples(st.just("go"), st.integers(0, 5)),
    st.tuples(st.just("say"), st.integers(0, 5), st.sampled_from("xy")),
    st.tuples(st.just("cut"), st.integers(0, 2), st.integers(1, 25)),
    st.tuples(st.just("stall"), st.integers(0, 2), st.integers(1, 25)),
    st.tuples(st.just("restart"), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("wait"), st.integers(1, 12)),
)


@settings(max_examples=25)
@given(st.lists(STEPS, max_size=12), st.integers(0, 3))
def test_after_all_that_may_happen_everybody_agrees(steps, seed):
    async def scene(house):
        faults_end = 0.0
        for name, *args in steps:
            match name:
                case "come":
                    if house.world.now >= faults_end:  # else a new group could not be watched, and nobody joins
                        await house.come(*args)
                case "go" if house.clients:
                    await house.go(args[0] % len(house.clients))
                case "say" if house.clients:
                    client = house.clients[args[0] % len(house.clients)][2]
                    if client.end is None:
                        await client.send_json(args[1])
                case "cut":
                    house.world.cut_engine(*args)
                    faults_end = max(faults_end, house.world.now + args[1] + 1)
                case "stall":
                    house.world.stall_node(*args)
                    faults_end = max(faults_end, house.world.now + args[1] + 1)
                case "restart":
                    await house.world.restart(args[0], kill=args[1])
                case "wait":
                    await trio.sleep(args[0])
                case _:
                    pass
            await trio.sleep(0.3)
        await trio.sleep(max(0.0, faults_end - house.world.now))
        await house.check()

    play(scene, seed=seed)
