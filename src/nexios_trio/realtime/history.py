"""What clients read: a group's history, and who is present."""

from typing import Any, Final

from ..core.message import Message, Position
from ..exceptions import LifecycleError
from .client import RealtimeClient
from .errors import refuse
from .protocol.codes import ErrorCode
from .protocol.data import Data
from .protocol.parts import ClientInfo
from .protocol.replies import HistoryResult, PresenceResult, PresenceStatsResult
from .protocol.requests import HistoryRequest
from .subscribing import position_of, publication_of

__all__ = ["read_history", "read_presence", "read_presence_stats"]

MAX_MESSAGES: Final = 300  # in one answer
MAX_BYTES: Final = 262_144  # of payloads


async def read_history(box: Any, client: RealtimeClient, request: HistoryRequest) -> HistoryResult:
    """Read what a client has asked for, in bounds. Checkpoint: always. Raises: CommandRefused, EngineError."""
    group = request.channel
    if not box.keeps(group):
        raise refuse(ErrorCode.NOT_AVAILABLE, "the group keeps no history")
    limit = MAX_MESSAGES if request.limit < 0 else min(request.limit, MAX_MESSAGES)
    top: Position = (await box.engine.history(group, limit=0)).top
    since = None
    if request.since is not None:
        since = position_of(request.since.offset, request.since.epoch or top.epoch)
        if since is None or since.epoch != top.epoch:
            raise refuse(ErrorCode.UNRECOVERABLE_POSITION)
    result = HistoryResult(epoch=top.epoch, offset=top.offset)
    if limit:
        messages = await _read(box, group, top, since, limit, is_reverse=request.reverse)
        result.publications = [publication_of(each, client.codec) for each in messages if not client.is_excluded(each)]
    return result


async def _read(
    box: Any, group: str, top: Position, since: Position | None, limit: int, *, is_reverse: bool
) -> list[Message]:
    history = box.engine.history
    if not is_reverse:
        after = since or Position(0, top.epoch)
        return list((await history(group, after, limit=limit, max_bytes=MAX_BYTES)).messages)
    if since is None:
        page = await history(group, limit=limit, max_bytes=MAX_BYTES)
    else:
        after = Position(max(since.offset - 1 - limit, 0), since.epoch)
        page = await history(group, after, limit=limit, max_bytes=MAX_BYTES)
    return [each for each in reversed(page.messages) if since is None or each.position.offset < since.offset]


async def read_presence(box: Any, group: str) -> PresenceResult:
    """Return who is present. Checkpoint: always. Raises: CommandRefused, EngineError."""
    present: dict[str, ClientInfo] = {}
    for user in await _present(box, group):
        for connection in user.connections:
            info = None if connection.info is None else Data(connection.info)
            present[str(connection.id)] = ClientInfo(user.user or "", str(connection.id), chan_info=info)
    return PresenceResult(present)


async def read_presence_stats(box: Any, group: str) -> PresenceStatsResult:
    """Count who is present. Checkpoint: always. Raises: CommandRefused, EngineError."""
    users = await _present(box, group)
    return PresenceStatsResult(sum(len(user.connections) for user in users), len(users))


async def _present(box: Any, group: str) -> Any:
    try:
        return await box.presence(group)
    except LifecycleError:
        raise refuse(ErrorCode.NOT_AVAILABLE, "nobody keeps who is present in the group") from None
