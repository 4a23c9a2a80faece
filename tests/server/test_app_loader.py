"""Finding the application that the command is to serve."""

import pytest

from nexios_trio.server.app_loader import LoadError, load_application
from tests.server import apps


def test_the_name_may_be_left_out():
    assert load_application("tests.server.apps") is load_application("tests.server.apps:app") is apps.app


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("nowhere.main:app", "there is no module 'nowhere'"),
        ("tests.server.apps:ap", "did you mean app?"),
        ("tests.server.apps:app.rotes", "there is no 'rotes'"),
        (
            "tests.server.apps:echo",
            "'tests.server.apps:echo' is a handler, of the WebSocket route '/echo' of fresh; accepted is a NexiosApp, or",
        ),
        ("tests.server.apps:echo", "a callable (scope, receive, send); did you mean app or obstinate or"),
        ("tests.server.apps:not_callable", "'tests.server.apps:not_callable' is of type int"),
        ("examples/chat/app.py", "give the module, as in examples.chat.app:app"),
        ("..:app", "is no module name"),
    ],
)
def test_mistakes_say_what_there_is(spec, text):
    with pytest.raises(LoadError) as caught:
        load_application(spec)
    assert text in str(caught.value)
