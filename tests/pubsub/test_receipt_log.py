"""Receipts by key: bounded in number, bytes and age."""

from nexios_trio.pubsub.receipt_log import RECEIPT_OVERHEAD_BYTES, ReceiptLog


def make(max_count=10, max_bytes=1_000_000, max_age=60.0):
    return ReceiptLog(max_count, max_bytes, max_age)


def test_a_receipt_is_found_by_group_and_key():
    log = make()
    log.add("room", "a", 1, 0.0)
    assert log.find("room", "a", 59.9) == (1,)
    assert log.find("other", "a", 0.0) is None
    assert log.find("room", "b", 0.0) is None


def test_one_that_is_too_old_is_not_found():
    log = make()
    log.add("room", "a", None, 0.0)
    assert log.find("room", "a", 1.0) == (None,)
    assert log.find("room", "a", 60.0) is None


def test_the_oldest_go_when_there_are_too_many():
    log = make(max_count=2)
    for number in range(4):
        log.add("room", str(number), number, float(number))
    assert [log.find("room", str(number), 4.0) for number in range(4)] == [None, None, (2,), (3,)]
    assert len(log) == 2


def test_the_oldest_go_when_they_cost_too_much():
    log = make(max_bytes=3 * RECEIPT_OVERHEAD_BYTES)
    for number in range(20):
        log.add("r", "x" * number, number, 0.0)
        assert log.bytes <= 3 * RECEIPT_OVERHEAD_BYTES
    assert len(log) == 2
    log.add("r", "y" * 100_000, 1, 0.0)  # larger than all that there may be
    assert (len(log), log.bytes) == (0, 0)


def test_those_that_are_too_old_take_no_room():
    log = make()
    for number in range(5):
        log.add("room", str(number), number, float(number))
    log.add("room", "late", 9, 100.0)
    assert len(log) == 1


def test_one_that_is_added_again_is_young_again():
    log = make(max_count=2)
    log.add("room", "a", 1, 0.0)
    log.add("room", "b", 2, 1.0)
    log.add("room", "a", 3, 2.0)
    log.add("room", "c", 4, 3.0)
    assert [log.find("room", key, 3.0) for key in "abc"] == [(3,), None, (4,)]
    assert log.bytes == 2 * (RECEIPT_OVERHEAD_BYTES + 4 + 4)
