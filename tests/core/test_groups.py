"""Groups and cursors against a model: in order, nothing lost, nothing twice, whoever flushes when."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nexios_trio.core.groups import GroupIndex, Removed
from nexios_trio.core.messages import Message

MEMBERS = st.integers(0, 3)
NAMES = st.sampled_from(["a", "b"])


class Slices:
    """A flush that stops between members, as the flusher does."""

    def __init__(self, group):
        self.group = group
        self.top = group.top
        self.batch = group.batch()
        self.base = group.base
        self.rest = list(group.members.values())

    def step(self, hand_over):
        membership = self.rest.pop(0)
        group = self.group
        if self.batch is not None and membership.cursor == self.base:
            membership.cursor = self.top
            hand_over(membership, self.batch)
        elif membership.cursor < self.top and group.members.get(membership.member) is membership:
            hand_over(membership, membership.take())


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
        self.hand_over(membership, membership.take())

    # What members do

    @rule(member=MEMBERS, name=NAMES)
    def join(self, member, name):
        is_new = self.index.add(member, name)
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

    @rule(name=NAMES)
    def flush(self, name):
        group = self.index.groups.get(name)
        if group is None:
            return
        slices = Slices(group)
        while slices.rest:
            slices.step(self.hand_over)
        group.settle(slices.top)
        assert not group.pending
        for key, owed in self.owed.items():
            if key[1] == name:
                assert self.given[key] == owed

    @rule(name=NAMES)
    def begin_slices(self, name):
        if name in self.index:
            self.slices.append(Slices(self.index.groups[name]))

    @precondition(lambda self: self.slices)
    @rule(data=st.data())
    def go_on(self, data):
        slices = data.draw(st.sampled_from(self.slices))
        if slices.rest:
            slices.step(self.give_if_member)
        if not slices.rest:
            slices.group.settle(slices.top)
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
            assert group.excluding == any(excluded for _, excluded in group.pending)

    @invariant()
    def the_index_agrees_both_ways(self):
        assert {(member, group.name) for group in self.index for member in group.members} == set(self.owed)
        for member in range(4):
            of_member = {membership.group.name for membership in self.index.memberships(member)}
            assert of_member == {name for who, name in self.owed if who == member}
        assert len(self.index) == len({name for _, name in self.owed})


TestGroups = GroupsMachine.TestCase
TestGroups.settings = settings(max_examples=60, stateful_step_count=40)


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
    assert [membership.take() for membership in index.memberships("bob")] == [None]


def test_joining_twice_keeps_the_cursor(index):
    assert index.add("ann", "room") is True
    index.groups["room"].publish(messages(1)[0])
    assert index.add("ann", "room") is False
    (membership,) = index.memberships("ann")
    assert payloads(membership.take()) == [0]


def test_one_who_is_excluded_gets_the_others(index):
    index.add("ann", "room")
    group = index.groups["room"]
    for number, message in enumerate(messages(3)):
        group.publish(message, ["ann"] if number == 1 else ())
    assert group.batch() is None  # each has to be asked for
    assert payloads(group.members["ann"].take()) == [0, 2]


def test_settling_below_what_is_settled_changes_nothing(index):
    index.add("ann", "room")
    group = index.groups["room"]
    first, second = messages(2)
    group.publish(first)
    group.members["ann"].take()
    group.settle(1)
    group.publish(second)
    group.settle(0)  # a flush that somebody else overtook
    assert payloads(group.members["ann"].take()) == [1]
    assert (group.base, group.top) == (1, 2)


def test_a_group_that_is_founded_again_begins_empty(index):
    index.add("ann", "room")
    index.groups["room"].publish(messages(1)[0])
    assert index.remove("ann", "room") is Removed.GROUP
    assert "room" not in index
    index.add("bob", "room")
    assert [membership.take() for membership in index.memberships("bob")] == [None]


def test_clear_leaves_nothing(index):
    index.add("ann", "room")
    index.clear()
    assert (len(index), list(index), list(index.memberships("ann"))) == (0, [], [])
