"""What is published from outside, as JSON, and what the application answers."""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from uuid import uuid4

import attrs

from ..core.json import JsonDefault, decode_json, encode_json
from ..core.names import check_group_name
from ..core.position import Position
from ..engines.base import check_key
from ..exceptions import InvalidJson
from ..logs.escaping import printable

__all__ = [
    "NOT_OURS",
    "Answer",
    "GroupMessage",
    "PublishReceipt",
    "Refusal",
    "batches",
    "encode_batch",
    "encode_message",
    "read_answer",
    "read_object",
    "read_refusal",
]

MAX_BATCH_MESSAGES: Final = 200  # of one request
MAX_BATCH_BYTES: Final = 262_144
_DEPTH: Final = 8  # levels of an answer
MAX_TEXT: Final = 500  # characters of an answer's error
_UNSENT_STATUSES: Final = range(400, 500)  # for which nothing was done
_RETRIED_STATUSES: Final = (408, 429, 502, 503, 504)
NOT_OURS: Final = "the answer is not that of mount_api: is the url its address?"


def _given_key(key: str | None) -> str:
    return uuid4().hex if key is None else check_key(key)


@attrs.frozen
class GroupMessage:
    """One message of a batch.

    Args:
        payload: anything that JSON can carry, or bytes.
        key: a name for this message, of up to 200 characters, for a retry of the same; one is made up without it.
        save_history, transient: see `ChannelBox.group_send`.
    Raises: TypeError, ValueError.
    """

    group: str = attrs.field(converter=check_group_name)
    payload: Any
    key: str = attrs.field(default=None, converter=_given_key)
    save_history: bool = False
    transient: bool = False


@attrs.frozen
class PublishReceipt:
    """What a publish was answered with.

    Args:
        position: the message's; None for one without a number, for nobody or transient.
        is_watched: somebody was in the group, or might have been.
    """

    position: Position | None
    is_watched: bool


@attrs.frozen
class Answer:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]  # by names in lower case
    body: bytes


@attrs.frozen
class Refusal:
    """An attempt that has published nothing, or not all, or did not say.

    Args:
        status: of the response; None: there was none.
        may_help: to try again.
        receipts: of the messages before the one that failed.
        pause: seconds that the server wants to be left alone.
    """

    text: str
    status: int | None = None
    maybe_published: bool = False
    may_help: bool = True
    receipts: tuple[PublishReceipt, ...] = ()
    pause: float = 0.0


def encode_message(message: GroupMessage, json_default: JsonDefault | None) -> bytes:
    """Return it as JSON. Raises: PayloadError."""
    payload = message.payload
    if isinstance(payload, bytes | bytearray | memoryview):
        fields = {"payload_base64": b64encode(payload).decode()}
    else:
        fields = {"payload": payload}
    flags = {name: True for name in ("save_history", "transient") if getattr(message, name)}
    return encode_json({"group": message.group, "key": message.key, **fields, **flags}, json_default)


def encode_batch(messages: Iterable[bytes]) -> bytes:
    """Return the body of a request for several."""
    return b'{"messages":[%b]}' % b",".join(messages)


def batches(messages: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Divide messages into so many as one request has."""
    batch: list[bytes] = []
    size = 0
    for message in messages:
        if batch and (len(batch) == MAX_BATCH_MESSAGES or size + len(message) > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message)
    if batch:
        yield batch


def read_answer(answer: Answer, count: int | None, first: int) -> tuple[PublishReceipt, ...] | Refusal:
    """Read the answer to a publish, or, with `count`, to so many.

    Args:
        first: the number of the first message of this request, among those that the caller knows of.
    """
    if answer.status != 200:
        return read_refusal(answer, first)
    try:
        found = read_object(answer)
        receipts = _receipts([found] if count is None else found.get("results"))
        if len(receipts) == (1 if count is None else count):
            return receipts
    except ValueError:
        pass
    return Refusal(NOT_OURS, answer.status, maybe_published=True, may_help=False)


def read_refusal(answer: Answer, first: int = 0) -> Refusal:
    """Return what a request was refused with. `first`: as in `read_answer`."""
    try:
        told = read_object(answer)
        receipts = _receipts(told.get("results", []))
    except ValueError:
        told, receipts = {}, ()
    status = answer.status
    text = told.get("error")
    if not isinstance(text, str):
        text = NOT_OURS if status in _UNSENT_STATUSES else "a proxy's answer, or that of a server that failed"
    text = re.sub(r"messages\[(\d{1,6})\]", lambda found: f"messages[{int(found[1]) + first}]", text[:MAX_TEXT])
    maybe = told.get("maybe_published")
    return Refusal(
        f"{status}: {printable(text, None)}",
        status,
        maybe if isinstance(maybe, bool) else status not in _UNSENT_STATUSES,
        status in _RETRIED_STATUSES,
        receipts,
        _seconds(answer.headers.get("retry-after", "")),
    )


def read_object(answer: Answer, depth: int = _DEPTH) -> dict[str, Any]:
    """Return the object that an answer is. Raises: ValueError."""
    try:
        found = decode_json(answer.body, depth)
    except InvalidJson as error:
        raise ValueError(f"the answer is not JSON: {error.msg}") from None
    if isinstance(found, dict):
        return found
    raise ValueError("the answer is not a JSON object")


def _receipts(results: Any) -> tuple[PublishReceipt, ...]:
    receipts = []
    for result in results if isinstance(results, list) else [None]:
        if not isinstance(result, dict) or "position" not in result:
            raise ValueError("the answer has no position")
        position = result["position"]
        parsed = None if position is None else Position.parse(position)
        receipts.append(PublishReceipt(parsed, result.get("is_watched") is not False))
    return tuple(receipts)


def _seconds(text: str) -> float:
    return float(text) if re.fullmatch("[0-9]{1,4}", text) else 0.0
