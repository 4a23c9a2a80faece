"""A day of the chat: a thousand people come, talk, fall asleep and lose their connections; the server is restarted.

`python -m examples.chat.day [SEED]` lives through it in seconds, in virtual time, and prints what happened and a hash
of all of it. The same seed makes the same day.
"""

import sys
from collections import Counter
from importlib import import_module
from random import Random

import attrs
import trio

from nexios_trio import NexiosApp
from nexios_trio.testing import Client, ConnectionOver, Net, World, run

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
ROOMS = 250
SERVICE_RESTART = 1012  # the close code of a server that stops


def fresh_chat() -> NexiosApp:
    """The chat as a new process has it: nobody there, nothing remembered."""
    sys.modules.pop("examples.chat.app", None)
    app: NexiosApp = import_module("examples.chat.app").app
    return app


@attrs.frozen
class Day:
    """What is left of a day."""

    hash: str  # of everything that any client saw or did, and when
    events: int
    seen: Counter[str]


async def day(seed: int = 0, people: int = 1000) -> Day:
    """A restart in the morning's rush, which tells everybody; a crash at noon, which tells nobody."""
    seen: Counter[str] = Counter()
    async with World(make=fresh_chat, seed=seed, net=Net(rtt=0.1, loss=0.01)) as world:
        world.at(HOUR, world.restart)
        world.at(12 * HOUR, lambda: world.restart(down=5 * MINUTE, kill=True))
        async with trio.open_nursery() as nursery:
            for number in range(people):
                nursery.start_soon(Person(world, f"person {number}", seen).live)
            await world.until(DAY)
            await world.settle()
            world.assert_gap_free()
            world.assert_no_leaks()
            nursery.cancel_scope.cancel()
    return Day(world.timeline.hash, world.timeline.count, seen)


class Person:
    """Somebody who visits the chat again and again."""

    def __init__(self, world: World, name: str, seen: Counter[str]) -> None:
        self.world = world
        self.name = name
        self.seen = seen
        self.chance = Random(f"{world.seed} {name}")

    async def live(self) -> None:
        await trio.sleep(self.chance.uniform(0, HOUR / 2))  # everybody comes in the morning
        while True:
            away = self.some(72 * HOUR)
            room = int(ROOMS * self.chance.random() ** 1.5)  # some rooms are fuller than others
            try:
                async with self.world.connect(f"/ws/chat/{room}?username={self.name}", name=self.name) as ws:
                    await self.visit(ws)
            except ConnectionOver as end:
                self.seen[f"ended with {end.code}"] += 1
                if end.code == SERVICE_RESTART:
                    away = self.some(MINUTE)
            await trio.sleep(away)

    async def visit(self, ws: Client) -> None:
        while (welcome := await ws.receive_json())["type"] != "welcome":
            pass  # our own "has joined the room"
        assert self.name in [each["username"] for each in welcome["people"]]
        self.seen["visits"] += 1
        self.seen["most at once"] = max(self.seen["most at once"], len(self.world.clients))
        for number in range(self.chance.randint(1, 2)):
            await self.listen(ws)
            await ws.send_json({"type": "message", "content": f"{number} from {self.name}"})
            if self.chance.random() < 0.15:
                await self.have_trouble(ws)

    async def listen(self, ws: Client) -> None:
        with trio.move_on_after(self.some(30 * MINUTE)):
            while True:
                heard = await ws.receive_json(timeout=DAY)
                self.seen[f"heard {heard['type']}"] += 1

    async def have_trouble(self, ws: Client) -> None:
        trouble = self.chance.choice(["stalled", "cut off", "lost"])
        self.seen[trouble] += 1
        match trouble:
            case "stalled":
                ws.stall()
                await trio.sleep(self.some(20 * MINUTE))
                ws.resume()
            case "cut off":
                ws.half_open()
                await trio.sleep(self.some(MINUTE))
                ws.heal()
            case _:
                ws.lose()

    def some(self, mean: float) -> float:
        """Seconds, `mean` of them on average."""
        return self.chance.expovariate(1 / mean)


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    result = run(day, seed, seed=seed)
    print(f"seed {seed}: {result.events} events, hash {result.hash}")
    print("\n".join(f"  {count:8} {what}" for what, count in sorted(result.seen.items())))


if __name__ == "__main__":
    main()
