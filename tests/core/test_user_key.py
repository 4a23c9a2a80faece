"""Who a user is, whatever the application has as a user."""

from types import SimpleNamespace

import pytest

from nexios_trio.core.user_key import user_key


@pytest.mark.parametrize(
    ("user", "key"),
    [
        ("ann", "ann"),
        (7, "7"),
        ({"id": "ann", "name": "Ann"}, "ann"),
        ({"id": 7}, "7"),
        (SimpleNamespace(id=7), "7"),
        (None, None),
        ("", None),
        (True, None),
        ({"name": "Ann"}, None),
        (SimpleNamespace(id=None), None),
        (SimpleNamespace(id={}), None),
        (object(), None),
        ("a\0b", None),
    ],
)
def test_a_user_has_a_key(user, key):
    assert user_key(user) == key
