"""The names are Starlette's, with the same numbers."""

import starlette.status

from nexios_trio import status


def test_every_starlette_name_has_the_same_number():
    for name in starlette.status.__all__:
        assert getattr(status, name) == getattr(starlette.status, name)


def test_the_number_is_in_the_name_and_every_name_is_exported():
    public = [name for name in vars(status) if name.startswith(("HTTP_", "WS_"))]
    assert sorted(public) == sorted(status.__all__)
    for name in public:
        assert getattr(status, name) == int(name.split("_")[1])
