"""Tracebacks that begin with the user's own code."""

import importlib
import io
import json
import logging
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexios_trio import NexiosApp
from nexios_trio.exceptions import LifecycleError
from nexios_trio.logs import JsonFormatter, TextFormatter
from nexios_trio.logs.tracebacks import format_traceback, trim_traceback
from nexios_trio.testing import Denied, connect, run_app
from nexios_trio.websockets import WebSocket, WebSocketConsumer, open_channel
from tests.asgi import request


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """What is printed of the error that importing these modules raises; the first is imported."""
    monkeypatch.syspath_prepend(tmp_path)

    def show(**modules: str) -> str:
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        try:
            importlib.import_module(next(iter(modules)))
        except Exception as error:
            error.__traceback__ = error.__traceback__.tb_next  # without this file
            trim_traceback(error)
            return "".join(traceback.format_exception(error)).replace(f"{tmp_path}/", "")
        raise AssertionError("nothing was raised")

    return show


def files(text: str) -> list[str]:
    return [line.split('"')[1] for line in text.splitlines() if line.lstrip(" |").startswith("File ")]


def test_an_import_that_fails_shows_the_users_files_alone(shown):
    text = shown(outer_one="import inner_one\n", inner_one="import there_is_no_such_module\n")
    assert files(text) == ["outer_one.py", "inner_one.py"]
    assert "ModuleNotFoundError: No module named 'there_is_no_such_module'" in text


def test_a_mistake_of_syntax_shows_the_line_alone(shown):
    text = shown(crooked="def broken(:\n")
    assert files(text) == ["crooked.py"]
    assert text.startswith('  File "crooked.py", line 1')


def test_what_we_raise_ends_at_the_users_line(shown):
    text = shown(registering="from nexios_trio import NexiosApp\napp = NexiosApp()\napp.on_startup(5)\n")
    assert files(text) == ["registering.py"]


def test_causes_and_groups_are_trimmed_too(shown):
    text = shown(
        grouped="try:\n    import no_such_thing\nexcept ImportError as error:\n"
        "    raise ExceptionGroup('both', [LookupError('one')]) from error\n"
    )
    assert files(text) == ["grouped.py", "grouped.py"]
    assert "LookupError: one" in text


def test_a_traceback_that_is_about_us_stays_whole():
    with pytest.raises(TypeError) as caught:
        NexiosApp(nonsense=5)
    error = caught.value
    error.__traceback__ = before = error.__traceback__.tb_next
    trim_traceback(error)
    assert error.__traceback__ is before


def test_an_error_of_ours_that_says_it_all_needs_none():
    with pytest.raises(LifecycleError) as caught:
        NexiosApp().start_soon(print)
    error = caught.value
    error.__traceback__ = error.__traceback__.tb_next  # without this file
    trim_traceback(error)
    assert error.__traceback__ is None


# What fails while it is served. `mistake` is the user's innermost function, and this file the user's.

USERS_FILE = Path(__file__).name


def mistake() -> None:
    raise LookupError("no key")


class Failing(WebSocketConsumer):
    fails_in = "on_receive"

    async def on_connect(self, websocket: WebSocket) -> None:
        self.fail_in("on_connect")
        await websocket.accept()

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        self.fail_in("on_receive")

    async def on_disconnect(self, websocket: WebSocket, code: int) -> None:
        self.fail_in("on_disconnect")

    def fail_in(self, name: str) -> None:
        if self.fails_in == name:
            mistake()


def failing_app(**options: Any) -> NexiosApp:
    app = NexiosApp(**options)

    async def later() -> None:
        mistake()

    @app.ws_route("/handler")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        mistake()

    @app.ws_route("/task")
    async def task(ws: WebSocket) -> None:
        await ws.accept()
        ws.start_soon(later)
        await trio.sleep_forever()

    @app.ws_route("/two")
    async def two(ws: WebSocket) -> None:
        await ws.accept()
        ws.start_soon(later)
        try:
            await trio.sleep_forever()
        finally:
            mistake()

    @app.ws_route("/app-task")
    async def app_task(ws: WebSocket) -> None:
        await ws.accept()
        app.start_soon(later, on_error="log")

    @app.ws_route("/event")
    async def event(ws: WebSocket) -> None:
        async with open_channel(ws, payload_type="text") as channel:
            channel.on_message(lambda channel, message: mistake())
            await channel.receive()

    @app.ws_route("/ours")
    async def ours(ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_json(object())

    @app.get("/http")
    async def http(req: Any, res: Any) -> None:
        mistake()

    for name in ("on_connect", "on_receive", "on_disconnect"):
        app.add_ws_route(type("Consumer", (Failing,), {"fails_in": name}).as_route(f"/{name}"))
    return app


@pytest.fixture
def log():
    """The package's records, each as JSON, as text and by logging's own formatter."""
    logger = logging.getLogger("nexios_trio")
    streams = [(io.StringIO(), formatter) for formatter in (JsonFormatter(), TextFormatter(), logging.Formatter())]
    handlers = [logging.StreamHandler(stream) for stream, _ in streams]
    for handler, (_, formatter) in zip(handlers, streams, strict=True):
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    yield [stream for stream, _ in streams]
    for handler in handlers:
        logger.removeHandler(handler)


def frames(text: str) -> list[tuple[str, str]]:
    """File and function of each frame."""
    lines = [line.strip(" |") for line in text.splitlines()]
    shown = [line.split('"') for line in lines if line.startswith('File "')]
    return [(Path(file).name, rest.rpartition("in ")[2]) for _, file, rest in shown]


async def visit(path: str) -> None:
    async with run_app(failing_app()) as app:
        if path == "/http":
            await request(app, path)
            return
        with suppress(Denied):
            async with connect(app, path) as client:
                await client.send_text("hello")
                await wait_all_tasks_blocked()


@pytest.mark.parametrize(
    ("path", "first"),
    [
        ("/handler", "handler"),
        ("/task", "later"),
        ("/app-task", "later"),
        ("/event", "<lambda>"),
        ("/http", "http"),
        ("/on_connect", "on_connect"),
        ("/on_receive", "on_receive"),
        ("/on_disconnect", "on_disconnect"),
    ],
)
async def test_what_fails_while_it_is_served_begins_with_the_users_lines(log, path, first):
    await visit(path)
    as_json, *texts = (stream.getvalue() for stream in log)
    [exception] = [found["exception"] for found in map(json.loads, as_json.splitlines()) if "exception" in found]
    for text in (exception, *texts):
        shown = frames(text)
        assert {file for file, _ in shown} == {USERS_FILE}
        assert shown[0][1].rpartition(".")[2] == first
        assert shown[-1] == (USERS_FILE, "mistake")
        assert "LookupError: no key" in text


async def test_a_group_of_several_mistakes_has_none_of_our_frames(log):
    await visit("/two")
    for stream in log[1:]:
        assert {file for file, _ in frames(stream.getvalue())}.isdisjoint({"serve.py", "session.py"})
        assert stream.getvalue().count("LookupError: no key") == 2


async def test_our_frames_behind_the_users_stay(log):
    await visit("/ours")
    shown = frames(log[1].getvalue())
    assert shown[0] == (USERS_FILE, "ours")
    assert len(shown) > 1


async def test_details_are_whole(log, caplog):
    caplog.set_level(logging.DEBUG, "nexios_trio.connection")
    await visit("/handler")
    assert frames(log[1].getvalue())[0][0] == "serve.py"


async def test_a_client_of_debug_mode_is_shown_the_same():
    answer = await request(failing_app(debug=True), "/http")
    assert frames(answer.json()["traceback"]) == [(USERS_FILE, "http"), (USERS_FILE, "mistake")]


def test_an_error_keeps_its_frames_causes_and_notes():
    async def fail() -> None:
        try:
            mistake()
        except LookupError as error:
            failure = ValueError("no way")
            failure.add_note("look there")
            raise failure from error

    with pytest.raises(ValueError) as caught:  # its text is below
        trio.run(fail)
    error = caught.value
    whole = format_traceback(error, is_whole=True)
    error.__traceback__ = error.__traceback__.tb_next  # without this function
    text = format_traceback(error)
    assert frames(text) == [(USERS_FILE, "fail"), (USERS_FILE, "mistake"), (USERS_FILE, "fail")]
    assert text.endswith("ValueError: no way\nlook there\n")
    assert "direct cause of the following exception" in text
    assert format_traceback(error, is_whole=True).count("File") == whole.count("File") - 1
