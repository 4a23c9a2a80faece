"""`nexios-trio settings`: each setting, its value, and where that comes from."""

import re
import subprocess
import sys

from click.testing import CliRunner

from nexios_trio import NexiosApp, Settings
from nexios_trio.cli.loading import find_nexios_app, settings_of
from nexios_trio.cli.main import main
from nexios_trio.cli.setting_sources import find_sources

APP = """
from nexios_trio import NexiosApp
app = NexiosApp(max_connections=500, ping_interval=20.0)
"""


def sources(settings, given=(), environ=None):
    found = find_sources(settings, given, environ or {})
    return {row.name: (row.value, row.source) for row in found if row.source != "default"}


def test_the_command_as_a_process(tmp_path):
    (tmp_path / "main.py").write_text(APP)
    done = subprocess.run(
        [sys.executable, "-m", "nexios_trio", "settings", "main:app", "-s", "drain_timeout=2"],
        cwd=tmp_path,
        env={"NEXIOS_MAX_MESSAGE_SIZE": "2KiB"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0].split() == ["SETTING", "VALUE", "DEFAULT", "FROM"]
    for line in (
        "max_message_size +2 KiB +64 KiB +NEXIOS_MAX_MESSAGE_SIZE",
        "drain_timeout +2 s +10 s +command line",
        "max_connections +500 +None +code",
        "ping_interval +20 s +20 s +default",
        "  in this process; None: as many as its file limit allows",
    ):
        assert re.search(f"^{line}$", done.stdout, re.MULTILINE), line
    for row in Settings().describe():
        assert f"\n{row.name} " in done.stdout
    assert not done.stderr


def test_only_what_has_changed(monkeypatch):
    monkeypatch.setenv("NEXIOS_DEBUG", "yes")
    output = CliRunner().invoke(main, ["settings", "--changed"]).output
    assert [line.split()[0] for line in output.splitlines()] == ["SETTING", "debug", "show"]
    monkeypatch.delenv("NEXIOS_DEBUG")
    assert CliRunner().invoke(main, ["settings", "--changed"]).output == "All settings are at their defaults.\n"


def test_a_mistake_exits_with_2():
    assert CliRunner().invoke(main, ["settings", "tests.server.apps:echo"]).exit_code == 2


def test_code_overrules_the_environment():
    environ = {"NEXIOS_DEBUG": "true", "NEXIOS_MAX_FRAGMENTS": "10"}
    assert sources(Settings(max_fragments=10), (), environ) == {
        "debug": ("False", "code"),
        "max_fragments": ("10", "NEXIOS_MAX_FRAGMENTS"),
    }
    assert sources(Settings(debug=True), ["debug"], environ)["debug"] == ("True", "command line")


def test_an_application_behind_middleware_is_found():
    class Middleware:
        def __init__(self, app):
            self.app = app

    ours = NexiosApp(max_connections=3)
    assert find_nexios_app(Middleware(Middleware(ours))) is ours
    assert settings_of(Middleware(ours)) is ours.settings
    assert find_nexios_app(Middleware(print)) is None
    endless = Middleware(None)
    endless.app = endless
    assert find_nexios_app(endless) is None
