"""Who is at the other end of a connection."""

from types import SimpleNamespace
from uuid import UUID

import pytest
from starlette.authentication import BaseUser, SimpleUser, UnauthenticatedUser

from nexios_trio.logs.fields import connection_fields, user_name

ID = UUID(int=7)


@pytest.mark.parametrize(
    ("user", "name"),
    [
        (None, None),
        ("ann", "ann"),
        (7, "7"),
        ({"id": 7, "token": "secret"}, "7"),
        ({"name": "ann", "id": 7}, "ann"),
        (SimpleNamespace(username="ann", password="secret"), "ann"),
        (SimpleNamespace(password="secret"), None),
        (SimpleNamespace(id=ID), str(ID)),
        (SimpleUser("ann"), "ann"),
        (UnauthenticatedUser(), None),
        (BaseUser(), None),
        (object(), None),
    ],
)
def test_what_a_user_is_called(user, name):
    assert user_name(user) == name


def test_fields_of_a_scope():
    assert connection_fields({}) == {"path": None, "client": "unix", "user": None}
    scope = {"path": "/ws", "client": ("127.0.0.1", 5), "user": "ann", "query_string": b"token=secret"}
    assert connection_fields(scope) == {"path": "/ws", "client": "127.0.0.1", "user": "ann"}
