"""What the command line says."""

import click
import pytest
from click.testing import CliRunner

from nexios_trio.cli.main import main
from tests.server.processes import QUICK, command

APP = "tests.server.apps:app"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-b", "127.0.0.1:0", "--port", "9000"], "--bind says all that --host and --port do: give one or the other"),
        (["--host", "unix:/run/chat.sock"], "give --bind unix:/run/chat.sock"),
        (["--host", "127.0.0.1:9000"], "--host 127.0.0.1:9000 has a port in it; give --bind 127.0.0.1:9000"),
        (["--port", "99999"], "'99999': accepted is a whole number from 0 to 65535"),
        (["--port", "http"], "'http': accepted is a whole number from 0 to 65535"),
        (["--workers", "0"], "'0': accepted is a whole number from 1"),
        (
            ["--insecure-bind", "127.0.0.1:0"],
            "--insecure-bind is for a server with TLS, and needs --certfile and --keyfile",
        ),
        (["--root-path", "chat"], "'chat': accepted is a path that begins with /, as in /chat"),
        (
            ["--access-log", "/nowhere/log"],
            "cannot write the access log /nowhere/log: No such file or directory; accepted",
        ),
        (["--engine", "http://host"], "--engine: an engine's URL is redis://user:password@host:6379/0"),
        (["--engine", "redis://host?size=1"], "may have the options prefix, timeout, db, ca, not 'size'"),
    ],
)
def test_what_cannot_be_says_what_can(arguments, text):
    result = CliRunner().invoke(main, ["run", APP, *arguments])
    assert result.exit_code == 2
    assert text in result.output


@pytest.mark.parametrize(
    ("arguments", "address"),
    [(["--port", "0"], "http://127.0.0.1:"), (["--host", "::1", "--port", "0"], "http://[::1]:")],
)
async def test_host_and_port_in_place_of_bind(tmp_path, arguments, address):
    async with command(tmp_path / "log", APP, *QUICK, *arguments, bind=None) as server:
        assert server.addresses[0].startswith(address)


async def test_a_port_alone_says_what_it_is_taken_for(tmp_path):
    async with command(tmp_path / "log", APP, *QUICK, bind="0") as server:
        assert server.addresses[0].startswith("http://127.0.0.1:")
        assert "Note: -b 0 is taken for -b 127.0.0.1:0\n" in server.log


def _options_with_a_value():
    for name, each in main.commands.items():
        for option in each.params:
            if isinstance(option, click.Option) and not option.is_flag and not option.hidden:
                yield from ((name, flag, option) for flag in option.opts)


@pytest.mark.parametrize(
    ("name", "flag", "option"),
    [pytest.param(*each, id=f"{each[0]} {each[1]}") for each in _options_with_a_value()],
)
def test_an_option_without_its_value_says_what_that_is(name, flag, option):
    arguments = [] if name == "settings" else [APP, "{}"][: 1 + (name == "publish")]
    for more in ([flag], [flag, "--help"], [flag, flag]):
        result = CliRunner().invoke(main, [name, *arguments, *more])
        if more[1:] and (option.callback is not None or not isinstance(option.type, click.types.StringParamType)):
            continue  # which say themselves that an option is no such thing
        assert result.exit_code == 2
        assert f"Error: {' / '.join(option.opts)} needs a value" in result.output
        assert " ".join(option.help.split()).rstrip(".") in " ".join(result.output.split())
