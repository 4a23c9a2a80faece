"""Groups and cursors against a model: in order, nothing lost, nothing twice, whoever flushes when."""

from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nexios_trio.core.message import Message
from nexios_trio.pubsub import group as module
from nexios_trio.pubsub.group import Receiver
from nexios_trio.pubsub.index import GroupIndex, Removed

MEMBERS = st.integers(0, 2)
NAMES = st.sampled_from(["a", "b"])


def flush_in_slices(group, hand_over):
    """A flush that stops between members, as the flusher does."""
    top, base = group.top, group.base
    for member in tuple(group.left_out):
        if member in group.members:
            hand_over(group.members[member], group.members[member].take_owed())
    yield
    for cohort in tuple(group.cohorts):
        if cohort.cursor < top:
            batch = group.batch(max(cohort.cursor, base), top)
            cohort.cursor = top
            for membership in cohort.members:
                hand_over(membership, batch)
            yield
    for membership in tuple(group.stragglers):
        if membership.cursor < top and group.members.get(membership.member) is membership:
            hand_over(membership, membership.take_owed())
            yield
    group.forget_delivered(top)


class GroupsMachine(RuleBasedStateMachine):
    """The model: for each (member, group) that is joined, what was published since, and what was given."""

    def __init__(self):
        super().__init__()
        self.index = GroupIndex()
        self.owed = {}
        self.given = {}
        self.count = 0
        self.slices = []

    def hand_over(self, membership, batch):
        if batch is not None:
            self.given[membership.member, membership.group.name].extend(m.payload for m in batch.messages)

    def take(self, membership):
        self.hand_over(membership, membership.take_owed())

    # What members do

    @initialize(kinds=st.lists(st.integers(0, 1), min_size=3, max_size=3))
    def everybody_joins(self, kinds):
        for member, kind in enumerate(kinds):
            self.join(member, "a", kind, is_clear=True)

    @rule(member=MEMBERS, name=NAMES, kind=st.integers(0, 1), is_clear=st.booleans())
    def join(self, member, name, kind, is_clear):
        is_new = self.index.add(member, name, frame_index=kind)
        if is_clear:
            self.change(member, True)
        assert is_new == (not any(group == name for _, group in self.owed))
        self.owed.setdefault((member, name), [])
        self.given.setdefault((member, name), [])

    @rule(member=MEMBERS, name=NAMES)
    def leave(self, member, name):
        for membership in self.index.memberships(member):
            self.take(membership)
        was_member = (member, name) in self.owed
        if was_member:
            assert self.given[member, name] == self.owed[member, name]  # given its rest first
        answer = self.index.remove(member, name)
        self.forget(member, name)
        if was_member:
            assert answer is (Removed.MEMBER if name in self.index else Removed.GROUP)
        else:
            assert answer is (Removed.NO_MEMBER if name in self.index else Removed.NO_GROUP)

    @rule(member=MEMBERS)
    def vanish(self, member):
        """A member that is dropped: nobody gives it its rest."""
        names = [name for who, name in self.owed if who == member]
        assert self.index.discard(member) == names
        for name in names:
            self.forget(member, name)

    def forget(self, member, name):
        self.owed.pop((member, name), None)
        self.given.pop((member, name), None)

    # What happens in a group

    @rule(name=NAMES, excluded=st.lists(MEMBERS, max_size=2))
    def publish(self, name, excluded):
        group = self.index.groups.get(name)
        if group is None:
            return
        self.count += 1
        group.publish(Message(self.count, 0.0), excluded)
        for (member, other), owed in self.owed.items():
            if other == name and member not in excluded:
                owed.append(self.count)

    @rule(member=MEMBERS)
    def write_directly(self, member):
        for membership in self.index.memberships(member):
            self.take(membership)
            key = (member, membership.group.name)
            assert self.given[key] == self.owed[key]

    @rule(member=MEMBERS, is_clear=st.booleans())
    def change(self, member, is_clear):
        """Something is queued for a member, or nothing any more."""
        for membership in self.index.memberships(member):
            membership.set_write_now(len if is_clear else None)

    @rule(member=MEMBERS, kind=st.integers(0, 1))
    def move(self, member, kind):
        for membership in self.index.memberships(member):
            membership.set_receiver(Receiver(), kind)
            assert membership.cohort is None

    @rule(name=NAMES, excluded=st.lists(MEMBERS, max_size=1))
    def publish_and_flush(self, name, excluded):
        self.publish(name, excluded)
        self.flush(name)

    @rule(name=NAMES)
    def flush(self, name):
        group = self.index.groups.get(name)
        if group is None:
            return
        for _ in flush_in_slices(group, self.hand_over):
            pass
        assert not group.pending
        assert all(membership.write_now is None for membership in group.stragglers)
        for key, owed in self.owed.items():
            if key[1] == name:
                assert self.given[key] == owed

    @rule(name=NAMES)
    def begin_slices(self, name):
        if name in self.index:
            self.slices.append(flush_in_slices(self.index.groups[name], self.give_if_member))

    @precondition(lambda self: self.slices)
    @rule(data=st.data())
    def go_on(self, data):
        slices = data.draw(st.sampled_from(self.slices))
        if next(slices, "over") == "over":
            self.slices.remove(slices)

    @precondition(lambda self: self.slices)
    @rule(data=st.data())
    def cancel_slices(self, data):
        slices = data.draw(st.sampled_from(self.slices))
        slices.close()
        self.slices.remove(slices)

    def give_if_member(self, membership, batch):
        # One that vanished may still get what it was owed then; the model has forgotten it.
        group = membership.group
        is_member = group.members.get(membership.member) is membership
        if is_member and self.index.groups.get(group.name) is group:
            self.hand_over(membership, batch)

    # What always holds

    @invariant()
    def nothing_lost_or_twice_or_out_of_order(self):
        for key, given in self.given.items():
            assert given == self.owed[key][: len(given)]

    @invariant()
    def cursors_are_in_bounds(self):
        for group in self.index:
            assert group.members
            for membership in group.members.values():
                assert group.base <= membership.cursor <= group.top

    @invariant()
    def sizes_are_right(self):
        for group in self.index:
            assert group.pending_bytes == sum(message.size for message, _ in group.pending)
            assert set(group.left_out) == {member for _, excluded in group.pending for member in excluded}

    @invariant()
    def everybody_is_in_a_cohort_or_straggles(self):
        for group in self.index:
            in_cohorts = [membership for cohort in group.cohorts for membership in cohort.members]
            assert {*in_cohorts, *group.stragglers} == set(group.members.values())
            assert len(in_cohorts) + len(group.stragglers) == len(group.members)
            for cohort in group.cohorts:
                assert 0 < len(cohort.members) <= 2
                writes = [membership.write_now for membership in cohort.members]
                assert list(cohort.members.values()) == writes
                assert cohort.writes in (None, tuple(writes))
                assert all(m.cohort is cohort and m.frame_index == cohort.frame_index for m in cohort.members)

    @invariant()
    def the_index_agrees_both_ways(self):
        assert {(member, group.name) for group in self.index for member in group.members} == set(self.owed)
        for member in range(3):
            of_member = {membership.group.name for membership in self.index.memberships(member)}
            assert of_member == {name for who, name in self.owed if who == member}
        assert len(self.index) == len({name for _, name in self.owed})


class TestGroups(GroupsMachine.TestCase):
    settings = settings(max_examples=200, stateful_step_count=30)

    @pytest.fixture(autouse=True)
    def small_cohorts(self):
        with patch.object(module, "MAX_COHORT_MEMBERS", 2):
            yield


def messages(count):
    return [Message(number, 0.0) for number in range(count)]


def payloads(batch):
    return [message.payload for message in batch.messages]


@pytest.fixture
def index():
    return GroupIndex()


def test_a_member_that_joins_is_owed_nothing_from_before(index):
    index.add("ann", "room")
    group = index.groups["room"]
    group.publish(messages(1)[0])
    index.add("bob", "room")
    assert [membership.take_owed() for membership in index.memberships("bob")] == [None]


def test_joining_twice_keeps_the_cursor(index):
    assert index.add("ann", "room") is True
    index.groups["room"].publish(messages(1)[0])
    assert index.add("ann", "room") is False
    (membership,) = index.memberships("ann")
    assert payloads(membership.take_owed()) == [0]


def test_one_who_is_excluded_gets_the_others(index):
    index.add("ann", "room")
    group = index.groups["room"]
    for number, message in enumerate(messages(3)):
        group.publish(message, ["ann"] if number == 1 else ())
    assert list(group.left_out) == ["ann"]  # has to be asked alone
    assert payloads(group.members["ann"].take_owed()) == [0, 2]


def test_forgetting_below_what_is_forgotten_changes_nothing(index):
    index.add("ann", "room")
    group = index.groups["room"]
    first, second = messages(2)
    group.publish(first)
    group.members["ann"].take_owed()
    group.forget_delivered(1)
    group.publish(second)
    group.forget_delivered(0)  # a flush that somebody else overtook
    assert payloads(group.members["ann"].take_owed()) == [1]
    assert (group.base, group.top) == (1, 2)


def test_a_group_that_is_founded_again_begins_empty(index):
    index.add("ann", "room")
    index.groups["room"].publish(messages(1)[0])
    assert index.remove("ann", "room") is Removed.GROUP
    assert "room" not in index
    index.add("bob", "room")
    assert [membership.take_owed() for membership in index.memberships("bob")] == [None]


def test_members_that_can_be_written_to_share_cohorts_and_others_do_not(index):
    for member in ("ann", "bob", "cyd"):
        index.add(member, "room")
    group = index.groups["room"]
    ann, bob, cyd = group.members.values()
    ann.set_write_now(len)
    bob.set_write_now(len)
    assert [list(cohort.members) for cohort in group.cohorts] == [[ann, bob]]
    group.publish(messages(1)[0])
    assert payloads(ann.take_owed()) == [0]  # given something alone
    assert (ann.cohort, ann.cursor, bob.cursor) == (None, 1, 0)
    cyd.set_write_now(len)
    assert cyd.cohort is None  # it is owed something, and a cohort may have been given that already
    for membership in (bob, cyd):
        membership.take_owed()
    group.forget_delivered(1)
    assert [list(cohort.members) for cohort in group.cohorts] == [[cyd, ann, bob]]
    index.discard("ann")
    index.discard("bob")
    cyd.set_write_now(None)
    assert (group.cohorts, list(group.stragglers)) == ({}, [cyd])


def test_one_that_is_ahead_when_a_flush_ends_enters_a_cohort_after_the_next(index):
    for member in ("ann", "bob"):
        index.add(member, "room")
    group = index.groups["room"]
    ann, bob = group.members.values()
    for membership in (ann, bob):
        membership.set_write_now(len)
    first, second = messages(2)
    group.publish(first)
    slices = flush_in_slices(group, lambda *_: None)
    next(slices)
    group.publish(second)
    assert payloads(ann.take_owed()) == [0, 1]
    assert list(slices)
    assert (ann.cohort, ann.cursor, bob.cursor) == (None, 2, 1)
    assert list(flush_in_slices(group, lambda *_: None))
    assert ann.cohort is bob.cohort
    assert (ann.cursor, bob.cursor) == (2, 2)
