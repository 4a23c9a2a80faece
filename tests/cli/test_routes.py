"""`nexios-trio routes`."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from nexios_trio.cli.main import main

APP = """
from nexios_trio import NexiosApp
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware

async def check(websocket, next):
    return await next(websocket)

app = NexiosApp(middleware=[check])
app.add_middleware(CORSMiddleware, allow_origins=["https://a.example"])
empty = NexiosApp()
starlette = Starlette()
ours = NexiosApp()
ours.mount_health()
ours.mount_metrics()
ours.mount_api("/api", key="k" * 32)

@app.ws_route("/ws/{room}")
async def chat(ws, room):
    pass

@app.get("/rooms")
async def rooms(req, res):
    pass
"""


def test_the_command_as_a_process(tmp_path):
    (tmp_path / "main.py").write_text(APP)
    command = [sys.executable, "-m", "nexios_trio", "routes"]
    done = subprocess.run([*command, "main:app"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["KIND", "PATH", "HANDLER", "MIDDLEWARE"],
        ["WebSocket", "/ws/{room}", "main.chat", "check"],
        ["GET", "/rooms", "main.rooms", "-"],
        ["Around", "all", "of", "it:", "CORSMiddleware"],
    ]
    done = subprocess.run([*command, "main:ours"], cwd=tmp_path, capture_output=True, text=True, check=True)
    handlers = {line.split()[1]: line.split()[2] for line in done.stdout.splitlines()[1:]}
    assert handlers["/healthz"] == handlers["/readyz"] == "nexios_trio.NexiosApp.mount_health"
    assert handlers["/metrics"] == "nexios_trio.NexiosApp.mount_metrics"
    assert handlers["/api/publish"] == handlers["/api/batch"] == "nexios_trio.NexiosApp.mount_api"
    done = subprocess.run([*command, "main:starlette"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'main:starlette' is of type Starlette; routes are shown of a NexiosApp" in done.stderr


@pytest.mark.parametrize(
    ("name", "output"), [("fresh", "GET        /      tests.server.apps.limit  -"), ("broken", "There are no routes.")]
)
def test_in_this_process(name, output):
    result = CliRunner().invoke(main, ["routes", f"tests.server.apps:{name}"])
    assert result.exit_code == 0
    assert output in result.output
