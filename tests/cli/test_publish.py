"""`nexios-trio publish`: mistakes on its command line. What it publishes, `tests/e2e/test_outside.py` sees."""

import socket
from contextlib import closing

import pytest
from click.testing import CliRunner, Result

from nexios_trio.cli.main import main

KEY = "correct-horse-battery-staple"
URL = "http://127.0.0.1:1/api"


def publish(*arguments: str, key: str | None = KEY, url: str | None = URL, stdin: bytes = b"") -> Result:
    environment = {"NEXIOS_API_KEY": key, "NEXIOS_API_URL": url}
    return CliRunner(env=environment).invoke(main, ["publish", *arguments], input=stdin)


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        (("room", "tea"), {"url": None}, "say where: --url or NEXIOS_API_URL, the address of mount_api"),
        (("room", "tea"), {"key": None}, "NEXIOS_API_KEY is not set: it has the key that mount_api was given"),
        (("room", "tea"), {"key": ""}, "NEXIOS_API_KEY is not set"),
        (("room", "tea", "--url", "redis://127.0.0.1"), {}, "--url is that of an engine: say it as --engine"),
        (("room", "tea", "--engine", "redis://127.0.0.1"), {}, "with both: --engine or NEXIOS_ENGINE, and --name"),
        (("room", "tea", "--name", "app"), {}, "with both: --engine or NEXIOS_ENGINE, and --name"),
        (("room", "{", "--json"), {}, "the payload is not JSON"),
        (("room", "-"), {"stdin": b"\xff"}, "what comes on standard input is no text in UTF-8"),
        (("tea time", "x"), {}, "invalid group name 'tea time'"),
        (("room", "x", "--key", "k" * 201), {}, "key has 1 to 200 characters, not 201"),
        (("room", "x", "--deadline", "300"), {}, "deadline is more than 0 and less than 300 seconds"),
        (("room",), {}, "Missing argument 'PAYLOAD'"),
    ],
    ids=range(12),
)
def test_a_mistake_is_named(arguments: tuple[str, ...], options: dict[str, object], text: str) -> None:
    result = publish(*arguments, **options)
    assert result.exit_code == 2
    assert text in " ".join(result.output.split())
    assert KEY not in result.output


def test_perhaps_published_has_a_status_and_the_key_to_try_again_with() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        result = publish("room", "tea", "--deadline", "0.2", url=url)
        assert result.exit_code == 4
        assert "no answer in time" in result.output
        assert "To try again without sending it twice: --key " in result.output
        named = publish("room", "tea", "--deadline", "0.2", "--key", "order-7", url=url)
        assert (named.exit_code, "To try again" in named.output) == (4, False)


def test_its_help_has_the_statuses() -> None:
    text = " ".join(publish("--help").output.split())
    assert "Exit status: 0 published, 1 not published, 2 refused or a mistake on the command line, 4 perhaps" in text
