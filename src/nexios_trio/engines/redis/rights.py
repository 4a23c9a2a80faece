"""Whether a user may do at a Redis or Valkey server what the engine does: found out at the start, and not half way."""

from typing import Final

from ..presence import PresenceEdit, Renewal
from .client import RedisClient
from .connect import ServerMisconfigured
from .keys import RedisKeys
from .link import RedisLink, RedisRefusal, Word
from .presence import renewal_words

__all__ = ["check_rights"]

TEST_GROUP: Final = ""  # no group of users has this name
LIFE_MS: Final = 10_000

COMMANDS: Final = (
    "+hello +auth +ping +info +select +script|load +evalsha +get +set +del +exists +hmget +hset +hdel +pexpire +pttl"
    " +time +xlen +xadd +xrange +xdel +xtrim +zadd +zrange +zrem +zscore +publish +subscribe +unsubscribe"
)
CLUSTER_COMMANDS: Final = COMMANDS.partition("+publish")[0] + "+cluster|slots +spublish +ssubscribe +sunsubscribe"


_Script = tuple[str, list[bytes], tuple[Word, ...]]  # its name, keys and arguments


async def check_rights(client: RedisClient, link: RedisLink, keys: RedisKeys) -> None:
    """Do everything once that the engine does.

    Checkpoint: always. Raises: ServerMisconfigured, which names what is missing; LinkLost.
    """
    of_group, channel = keys.of_group(TEST_GROUP), keys.channel(TEST_GROUP)
    index, receipt = keys.index_of(TEST_GROUP), keys.receipt(TEST_GROUP, keys.node.hex())
    every: tuple[_Script, ...] = (
        ("flush", [index, *of_group], (TEST_GROUP,)),  # what somebody left who was refused half way
        ("tops", of_group, (keys.nonce, LIFE_MS)),
        (
            "post",
            [*of_group, index, receipt],
            (keys.nonce, channel, b"", LIFE_MS, 1000, TEST_GROUP, 2, 1, 1, 1000, "clear"),  # too large to be kept
        ),
        ("history", of_group, (keys.nonce, LIFE_MS, "", 0, 1, 1)),
        ("groups", [index, of_group[1]], (TEST_GROUP,)),
        ("flush", [index, *of_group], (TEST_GROUP,)),
        ("pass", [receipt], (channel, b"", 1000)),
        *_presence_scripts(keys),
    )
    try:
        for name, names, args in every:
            await link.call(*client.words(name, names, args))
        await link.call("ZRANGE", index, 0, -1)
        await link.call("PING")
        await link.call_subscribe(channel)
        await link.call_unsubscribe(channel)
    except RedisRefusal as refusal:
        own = f"{keys.prefix.decode()}*"
        commands = CLUSTER_COMMANDS if keys.parts else COMMANDS
        raise ServerMisconfigured(
            f"{client.address} refuses what groups need: {refusal}. What suffices is ~{own} &{own} {commands}"
        ) from None


def _presence_scripts(keys: RedisKeys) -> list[_Script]:
    """Somebody joins and leaves, where nobody else is."""
    node = keys.node.hex()
    own, first = keys.presence_of(b"test:%b:" % node.encode()), (keys.nonce, keys.presence_channels, LIFE_MS)
    stays = [PresenceEdit(TEST_GROUP, node, is_present, node, "1") for is_present in (True, False)]
    said = [renewal_words(Renewal(node, number, 1.0, (edit,), True)) for number, edit in enumerate(stays, 1)]
    return [
        *(("renew", own, (*first, *words)) for words in said),
        ("present", own, (*first, TEST_GROUP, 1)),
        ("versions", own, (*first, TEST_GROUP)),
        ("reap", own, first),
    ]
