"""The rooms of `examples/people.py` on three servers, whose links break: does everybody know who is there?

$ python -m examples.people_machine
"""

import sys
import unittest
from importlib import import_module

from hypothesis import settings

from nexios_trio import NexiosApp
from nexios_trio.testing.stateful import PresenceMachine


class People(PresenceMachine):
    groups = ("room.lobby", "room.hall")
    users = ("ann", "bob")
    grace, lease = 5.0, 30.0
    infos = ()  # nobody says anything of themselves

    def make(self) -> NexiosApp:
        sys.modules.pop("examples.people", None)  # as a new process has it
        app: NexiosApp = import_module("examples.people").app
        return app

    def url(self, group: str, user: str | None) -> str:
        return f"/ws/rooms/{group.removeprefix('room.')}?token={user}"


TestPeople = People.TestCase
TestPeople.settings = settings(max_examples=10, stateful_step_count=15, deadline=None)

if __name__ == "__main__":
    unittest.main()
