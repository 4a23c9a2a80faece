"""The list of attacks, each an async function of the target that checks what becomes of the attacker."""

from collections.abc import Awaitable, Callable

import attrs

from tests.attack.target import HYPERCORN, RUNNER, TAKEOVER, Target

BOTH = (RUNNER, HYPERCORN)
OURS = (RUNNER, TAKEOVER)  # where the socket is ours
ONLY_RUNNER = (RUNNER,)  # bare hypercorn cannot survive it, or cannot tell

Function = Callable[[Target], Awaitable[None]]


@attrs.frozen
class Attack:
    """One of them.

    Args:
        topic: the row of the security guide that it belongs to.
        servers: those that it makes sense against; hypercorn's stand for the takeover too.
    """

    name: str
    topic: str
    servers: tuple[str, ...]
    run: Function


ATTACKS: list[Attack] = []


def attack(topic: str, servers: tuple[str, ...] = BOTH) -> Callable[[Function], Function]:
    def register(function: Function) -> Function:
        name = function.__name__  # type: ignore[attr-defined]
        ATTACKS.append(Attack(name, topic, servers, function))
        return function

    return register


def request(topic: str, name: str, data: bytes, *statuses: int | None, servers: tuple[str, ...] = BOTH) -> None:
    """Bytes that get one of these statuses from the runner (None: no answer), or anything at all from hypercorn."""

    async def run(target: Target) -> None:
        status = await target.status(data)
        assert not target.is_runner or status in statuses, f"answered with {status}"

    ATTACKS.append(Attack(name, topic, servers, run))


def frames(topic: str, name: str, code: int, *data: bytes, path: str = "/echo") -> None:
    """Frames on an open WebSocket that the runner closes with this code; an echo is also a synchronous consumer."""

    def register(name: str, path: str) -> None:
        async def run(target: Target) -> None:
            await target.closes(path, *data, code=code)

        ATTACKS.append(Attack(name, topic, BOTH, run))

    register(name, path)
    if path == "/echo":
        register(f"{name}, to a synchronous consumer", "/sync")
