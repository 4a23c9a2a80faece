"""Does the server of the engine answer, and may the application do there what its groups need?"""

import logging
from collections.abc import Iterator
from typing import Any

import trio

from ...application.import_path import import_path_of
from ...engines.base import Engine
from ...exceptions import EngineError
from ...server.errors import sole
from ..banner import describe_engine
from ..loading import find_nexios_app
from .findings import Finding, note, ok, wrong

__all__ = ["check_engine_server"]

SUBJECT = "engine"


class Heard(logging.Handler):
    """Keeps what an engine warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def check_engine_server(app: Any) -> Iterator[Finding]:
    """Let the engine live for a moment, as it would in the application; one that reaches other machines."""
    ours = find_nexios_app(app)
    if ours is None or ours.box.engine.is_local:
        return
    ours.box.settle_name(import_path_of(ours))
    logger, heard = logging.getLogger("nexios_trio"), Heard()
    logger.addHandler(heard)
    try:
        trio.run(_live, ours.box.engine)
    except Exception as error:
        failure = sole(error)
        kind = "" if isinstance(failure, EngineError) else f"{type(failure).__name__}: "
        yield wrong(SUBJECT, f"{kind}{failure}")
    else:
        yield ok(SUBJECT, f"{describe_engine(ours)}: it answers")
        yield from (note(SUBJECT, text) for text in heard.texts)
    finally:
        logger.removeHandler(heard)


async def _live(engine: Engine) -> None:
    async with engine.run():
        pass
