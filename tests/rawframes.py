"""WebSocket frames made and read by hand, so that a test can also make wrong ones."""

import zlib
from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x11\x22\x33\x44"


def header(opcode, length, *, fin=True, rsv=0, masked=True):
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if masked else 0
    if length < 126:
        return bytes((first, bit | length))
    if length < 65536:
        return bytes((first, bit | 126)) + length.to_bytes(2, "big")
    return bytes((first, bit | 127)) + length.to_bytes(8, "big")


def client_frame(opcode, payload=b"", *, fin=True, rsv=0, mask=MASK):
    """One masked frame. `rsv`: 4 for RSV1, 2 for RSV2, 1 for RSV3."""
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")
    return header(opcode, len(payload), fin=fin, rsv=rsv) + mask + masked


def text(content, **bits):
    return client_frame(TEXT, content.encode() if isinstance(content, str) else content, **bits)


def close(code=1000, reason=""):
    return client_frame(CLOSE, code.to_bytes(2, "big") + reason.encode())


def deflated(payload, level=9):
    """A payload as permessage-deflate sends it, without context takeover."""
    deflater = zlib.compressobj(level, wbits=-15)
    return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


class ServerFrame(NamedTuple):
    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0

    @property
    def code(self):
        """Of a close frame; 1005 if it is empty."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else 1005

    @property
    def reason(self):
        return self.payload[2:].decode()


def take_frame(buffer):
    """Take one whole frame out of a bytearray; None while there is none."""
    if len(buffer) < 2:
        return None
    first, length = buffer[0], buffer[1]
    assert length < 0x80, "a server's frames are not masked"
    at = {126: 4, 127: 10}.get(length, 2)
    if at > 2:
        length = int.from_bytes(buffer[2:at], "big")
    if len(buffer) < at + length:
        return None
    payload = bytes(buffer[at : at + length])
    del buffer[: at + length]
    return ServerFrame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 7)


def take_frames(data):
    """All frames of some bytes, which end with a frame."""
    buffer = bytearray(data)
    frames = []
    while buffer:
        frame = take_frame(buffer)
        assert frame is not None, bytes(buffer)
        frames.append(frame)
    return frames
