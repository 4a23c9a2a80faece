"""What is said to a Redis or Valkey server to publish there, past the applications: as bytes, without I/O.

    HELLO, SELECT, INFO         who we are, and which run of the server that is
    SCRIPT LOAD, GET            the scripts of its engine, and what the applications there keep
    EVALSHA                     a message; the next one behind its answer

What an application does with a message is done by the server; only what its groups keep has to be known here. Every
application says that where its engine has a link (`engines.redis.kept`), so there is also seen that there is none.
"""

import json
import time
from base64 import b64decode
from collections.abc import Generator
from typing import Any, Final

import hiredis

from ..core.json import encode_json
from ..core.message import BYTES_FORM, JSON_FORM, TEXT_FORM, Message, PayloadForm
from ..core.message_codec import encode_message, restore_message
from ..core.position import Position
from ..engines.redis.address import RedisAddress
from ..engines.redis.client import is_elsewhere
from ..engines.redis.connect import ServerMisconfigured, hello_words, read_server, refused_hello
from ..engines.redis.engine import DEFAULT_PREFIX, MAX_MESSAGE_BYTES
from ..engines.redis.kept import KeptGroups, read_kept
from ..engines.redis.keys import RedisKeys
from ..engines.redis.link import RedisRefusal, Word, pack_words
from ..engines.redis.posts import UNDONE, keep_words, post_words
from ..engines.redis.scripts import script_text
from ..exceptions import EngineError
from .http11 import UnreadableAnswer
from .messages import Answer, PublishReceipt, Refusal

__all__ = ["RedisConversation"]

KNOWN_SECONDS: Final = 10.0  # for which is not asked again what is kept
HELPLESS: Final = frozenset(("NOPERM", "NOAUTH"))  # to try again makes no difference
SCRIPTS: Final = ("post", "pass")

_NOTHING: Final = object()
# Gives commands, and is sent their answers.
_Steps = Generator[list[tuple[Word, ...]], list[Any], Answer | Refusal]
_Publish = tuple[str, str, Message]  # group, key
_Asking = Generator[list[tuple[Word, ...]], list[Any], None]


class RedisConversation:
    """One connection: a request, its answer, the next request. As `HttpConnection`.

    Args:
        name: the application's.
    """

    def __init__(self, address: RedisAddress, name: str) -> None:
        self._address = address
        self._name = name
        self._keys = RedisKeys(f"{address.prefix or DEFAULT_PREFIX}:{name}")
        self._reader = hiredis.Reader(replyError=RedisRefusal, notEnoughData=_NOTHING)
        self._steps: _Steps | None = None
        self._out = b""
        self._answers: list[Any] = []
        self._expected = 0
        self._hashes: dict[str, bytes] = {}
        self._kept: KeptGroups | None = None
        self._known_until = 0.0  # `time.monotonic()`
        self.is_reusable = False  # the answer is complete, and another request may follow
        self.may_have_published = False  # since the request

    def request(self, name: str, body: bytes, nonce: bytes) -> bytes:
        """Return what is to be said at first. `nonce`: the same for each attempt."""
        self.is_reusable = self.may_have_published = False
        fields = json.loads(body)
        is_batch = name == "batch"
        messages = fields["messages"] if is_batch else [fields]
        made = [_message_of(each, nonce[:-4] + number.to_bytes(4)) for number, each in enumerate(messages)]
        self._steps = self._publish(made, is_batch)
        self._ask(next(self._steps))
        return self.more()

    def more(self) -> bytes:
        """Return what is to be said next, b"" for nothing."""
        out, self._out = self._out, b""
        return out

    def receive(self, data: bytes) -> Answer | Refusal | None:
        """Take what came, b"" for the end; return the answer when that is complete. Raises: UnreadableAnswer."""
        if not data:
            raise UnreadableAnswer("the connection was closed without an answer")
        try:
            self._reader.feed(data)
            while (item := self._reader.gets()) is not _NOTHING:
                self._answers.append(item)
        except hiredis.HiredisError as error:
            raise UnreadableAnswer(f"the answer is not that of a Redis server: {error}", may_help=False) from None
        if len(self._answers) < self._expected or self._steps is None:
            return None
        try:
            self._ask(self._steps.send(self._answers))
        except StopIteration as over:
            found: Answer | Refusal = over.value
            self.is_reusable = isinstance(found, Answer)
            return found
        except EngineError as error:
            return Refusal(str(error), may_help=not isinstance(error, ServerMisconfigured))
        return None

    def _ask(self, commands: list[tuple[Word, ...]]) -> None:
        self._out = b"".join(map(pack_words, commands))
        self._answers, self._expected = [], len(commands)

    # What is said

    def _publish(self, messages: list[_Publish], is_batch: bool) -> _Steps:
        if not self._hashes:
            yield from self._greet()
        if time.monotonic() >= self._known_until:
            yield from self._read_kept()
        if self._kept is None:
            return Refusal(f"no application named {self._name!r} was there: is the name the application's?")
        results: list[dict[str, Any]] = []
        for group, key, message in messages:
            keep = self._kept.limits_of(group, message.is_shown)
            data = encode_message(message)
            if len(data) > MAX_MESSAGE_BYTES:
                text = f"a group message of {len(data)} bytes; at most {MAX_MESSAGE_BYTES} are carried"
                return Refusal(text, may_help=False, receipts=_receipts_of(results))
            words = keep_words(message, keep)
            name, keys, args = post_words(self._keys, group, message, data, words, key)
            self.may_have_published = True
            [answer] = yield [("EVALSHA", self._hashes[name], len(keys), *keys, *args)]
            if isinstance(answer, RedisRefusal):
                return _refused(answer, results)
            offset, epoch, given, _ = answer
            position = f"{bytes(epoch).decode()}:{offset}" if offset else None
            results.append({"position": position, "is_watched": given > 0})
        return Answer(200, {}, encode_json({"results": results} if is_batch else results[0]))

    def _greet(self) -> _Asking:
        """Raises: EngineError."""
        database = [("SELECT", self._address.database)] if self._address.database else []
        hello, *selected, info = yield [hello_words(self._address), *database, ("INFO",)]
        if isinstance(hello, RedisRefusal):
            raise refused_hello(self._address, hello)
        for answer in selected:
            if isinstance(answer, RedisRefusal):
                raise ServerMisconfigured(f"there is no database {self._address.database}: {answer}")
        server = read_server(self._address, info)
        if server.is_replica:
            raise EngineError("it is a replica, and takes nothing: name its primary")
        loads = yield [("SCRIPT", "LOAD", script_text(name, server.run_id)) for name in SCRIPTS]
        for answer in loads:
            if isinstance(answer, RedisRefusal):
                raise EngineError(f"it takes no scripts: {answer}")
        self._hashes = dict(zip(SCRIPTS, loads, strict=True))

    def _read_kept(self) -> _Asking:
        """Raises: EngineError."""
        [answer] = yield [("GET", self._keys.kept)]
        if isinstance(answer, RedisRefusal):
            raise EngineError(f"what groups keep cannot be read: {answer}")
        self._kept = None if answer is None else read_kept(answer)
        self._known_until = time.monotonic() + KNOWN_SECONDS


def _message_of(fields: dict[str, Any], message_id: bytes) -> _Publish:
    """Make the message that was asked for. By its id, nodes know it again where the server has forgotten its key."""
    if "payload_base64" in fields:
        message = restore_message(b64decode(fields["payload_base64"]), BYTES_FORM, message_id, time.time())
    else:
        payload = fields["payload"]
        form: PayloadForm = TEXT_FORM if isinstance(payload, str) else JSON_FORM
        message = restore_message(encode_json(payload), form, message_id, time.time())
    message.is_shown = bool(fields.get("save_history"))
    message.is_transient = bool(fields.get("transient"))
    return fields["group"], fields["key"], message


def _refused(refusal: RedisRefusal, results: list[dict[str, Any]]) -> Refusal:
    is_undone = refusal.code in UNDONE or is_elsewhere(refusal)
    return Refusal(
        str(refusal),
        maybe_published=not is_undone,
        may_help=is_undone and refusal.code not in HELPLESS,
        receipts=_receipts_of(results),
    )


def _receipts_of(results: list[dict[str, Any]]) -> tuple[PublishReceipt, ...]:
    return tuple(
        [
            PublishReceipt(None if each["position"] is None else Position.parse(each["position"]), each["is_watched"])
            for each in results
        ]
    )
