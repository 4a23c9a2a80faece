"""`check_engine`: the contract of engines, on any engine."""

from collections.abc import Awaitable, Callable

from . import engine_faults, engine_history, engine_presence, engine_publishing, engine_watching
from .engine_faults import EngineFaults
from .engine_nodes import LIMITS, MakeEngine, Setting, nodes_of
from .rules import rule

__all__ = ["LIMITS", "EngineFaults", "MakeEngine", "check_engine"]

Check = Callable[[Setting], Awaitable[None]]


async def check_engine(
    make: MakeEngine, *, faults: EngineFaults | None = None, timeout: float = 5.0, notice: float = 60.0
) -> None:
    """Check that an engine does what `nexios_trio.engines.base` says. Works in real and in virtual time.

    Args:
        make: makes an engine, or a block that gives one, which is run here. Where the engine carries messages to other
            nodes, two that it makes are two nodes of one system. Groups have random names, except that everything kept
            is forgotten in the end.
        faults: what can be done to the engines' links. Without it, nothing is checked of what an engine does then.
        timeout: seconds that a message may take to another node, and that any rule may take to be checked.
        notice: seconds within which an engine must have noticed that its link is dead, though nobody says so.
    Raises: ContractBroken, with the rule.
    """
    rules: list[tuple[Check, str, float]] = [
        (check, sentence, 4 * timeout)
        for check, sentence in (
            *engine_publishing.FIRST_RULES,
            *engine_watching.RULES,
            *engine_publishing.RULES,
            *engine_history.RULES,
        )
    ]
    rules += [
        (check, sentence, 4 * timeout + 2 * notice)
        for needed, check, sentence in engine_faults.RULES
        if hasattr(faults, needed)
    ]
    rules += [(check, sentence, 4 * timeout) for check, sentence in engine_presence.RULES]
    for check, sentence, seconds in rules:
        async with rule(sentence, seconds), nodes_of(make) as nodes:
            if check in engine_presence.CHECKS and not nodes[0].engine.has_presence:
                continue
            await check(Setting(sentence, nodes, timeout, faults, notice))
