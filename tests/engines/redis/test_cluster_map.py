"""Who has which slots, and in which slot a key is."""

from nexios_trio.engines.redis.cluster_map import SlotMap
from nexios_trio.engines.redis.keys import PARTS, RedisKeys, slot_of

ONE, TWO = ("one", 1), ("two", 2)


def test_slots_have_owners_or_none():
    found = SlotMap([(10, 19, TWO), (0, 4, ONE), (20, 20, ONE)])
    assert [found.owner(slot) for slot in (0, 4, 5, 9, 10, 19, 20, 21)] == [ONE, ONE, None, None, TWO, TWO, ONE, None]


def test_a_slot_is_that_of_the_specification():
    assert slot_of(b"123456789") == 0x31C3
    assert slot_of(b"{user1000}.following") == slot_of(b"{user1000}.followers") == slot_of(b"user1000")
    assert slot_of(b"foo{}{bar}") != slot_of(b"bar")
    assert slot_of(b"foo{{bar}}zap") == slot_of(b"{bar")


def test_all_that_a_script_uses_of_a_group_is_in_one_slot():
    for group in ("room", "a{b}c", "}", "{}", "ö", ""):
        for name in ("app", "a{b", "a}b", "{a}"):
            keys = RedisKeys(f"nx:{name}", PARTS)
            used = [*keys.of_group(group), keys.channel(group), keys.index_of(group), keys.receipt(group, "k{e}y")]
            assert len({slot_of(key) for key in used}) == 1, (group, name)
    keys = RedisKeys("nx:app", PARTS)
    assert len({slot_of(key) for key in (*keys.presence, keys.presence_channels + b"room")}) == 1
    assert len({slot_of(index) for index in keys.indexes}) == PARTS
