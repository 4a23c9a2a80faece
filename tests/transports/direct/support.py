"""What the tests of a direct transport share."""

from nexios_trio.core.message import Batch, Message, text_frame
from tests.rawframes import TEXT
from tests.transports.support import membership, settle

JSON = membership(0)
PLAIN = membership(1)
BIG = "x" * 3000  # a few of these fill small kernel buffers


def batch(*payloads):
    return Batch(tuple(Message(payload, 0.0) for payload in payloads))


def texts(frames):
    return [frame.payload.decode() for frame in frames if frame.opcode == TEXT]


def stall(transport):
    """Offer messages until one is kept; how many that took."""
    count = 0
    while not transport.statistics().queued_bytes:
        transport.offer(text_frame(f"{count} {BIG}"))
        count += 1
    return count


def end_of(transport):
    [end] = transport.ends
    assert transport.end == end
    return end


async def later(clock, seconds):
    """Let so much time pass, and everything happen that is due."""
    await settle()
    clock.jump(seconds)
    await settle()


async def pass_time(clock, seconds, step=0.25):
    """The same in steps that are short beside every deadline: looks at the peer's progress come between."""
    for _ in range(round(seconds / step)):
        await later(clock, step)
