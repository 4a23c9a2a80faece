"""Frames as bytes: what they begin with, a server's control frames, and what an unsent rest of some holds. Pure."""

from typing import Final, cast

from ..core.close_codes import clip_reason
from ..core.lifecycle import Cause, End

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
FIN: Final = 0x80
RSV1: Final = 0x40
RSV23: Final = 0x30
MAX_CONTROL_BYTES: Final = 125  # of a control frame's payload


class Violation(Exception):
    """The peer broke the protocol, or a limit. `end` says what it is told."""

    def __init__(self, cause: Cause, reason: str) -> None:
        super().__init__(reason)
        self.end = End.of(cause, reason)


def control_frame(opcode: int, payload: bytes = b"") -> bytes:
    """A server's control frame; `payload` has 125 bytes at most."""
    return bytes((FIN | opcode, len(payload))) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; codes that only stand for "none was sent" (1005, 1006) give an empty one."""
    if code in (1005, 1006, 1015):
        return control_frame(CLOSE)
    return control_frame(CLOSE, code.to_bytes(2, "big") + clip_reason(reason).encode())


def messages_behind(rest: memoryview) -> int:
    """Count the messages that end in `rest`, the unsent end of some of our frames (or of an HTTP response: none)."""
    frames = cast(bytes, rest.obj)
    sent = len(frames) - len(rest)
    messages = at = 0
    while at < len(frames) and frames[at] & FIN:
        opcode, length, body = frames[at] & 0x0F, frames[at + 1], at + 2
        if length >= 126:
            body += 2 if length == 126 else 8
            length = int.from_bytes(frames[at + 2 : body], "big")
        at = body + length
        if at > sent and opcode < CLOSE:
            messages += 1
    return messages
