"""What the command line says."""

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
        (["--port", "99999"], "99999 is not in the range"),
    ],
)
def test_host_and_port_that_cannot_be(arguments, text):
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
