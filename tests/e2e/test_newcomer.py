"""A newcomer's first minutes, in an empty directory: what the README and the tutorial say, typed as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.docs.test_blocks import fences
from tests.server.processes import PROJECT, Command
from tests.server.processes import kill as kill_group
from tests.server.support import DEADLINE


def blocks(page: Path, info: str) -> list[str]:
    """The page's blocks of code of that kind."""
    return [code for _, found, code in fences(page.read_text(encoding="utf-8")) if found == info]


def typed(page: Path, start: str) -> list[str]:
    """The words of the one command that begins so."""
    lines = [line.removeprefix("$ ") for block in blocks(page, "console") for line in block.splitlines()]
    [line] = [line for line in lines if line.startswith(start)]
    return line.split()


def session(page: Path) -> tuple[str, str, list[str]]:
    """The path of the first conversation on the page, what is typed there, and what has to come."""
    text = next(block for block in blocks(page, "text") if block.startswith("$ python -m websockets"))
    lines = text.splitlines()
    [said] = [line.removeprefix("> ") for line in lines if line.startswith("> ")]
    answers = [line for line in lines if line.startswith("< ")]
    return re.sub(r"^.*:8000", "", lines[0]), said, answers


async def talk(port: int, path: str, said: str, until: str) -> str:
    """What the client that is installed with the package shows, up to an answer that matches."""
    client = [sys.executable, "-m", "websockets", f"ws://127.0.0.1:{port}{path}"]
    process = await trio.lowlevel.open_process(client, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    assert process.stdout is not None
    shown = ""
    try:
        async with process.stdin, process.stdout:
            with trio.fail_after(DEADLINE):
                await process.stdin.send_all(f"{said}\n".encode())
                while not re.search(until, shown):
                    data = await process.stdout.receive_some()
                    assert data, shown
                    shown += data.decode()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
    return shown


async def serve(folder: Path, words: list[str]) -> Command:
    """Run the page's command, on a free port, in that directory."""
    program = str(Path(sys.executable).with_name(words[0]))
    with (folder / "log").open("wb") as log:
        process = await trio.lowlevel.open_process(
            [program, *words[1:], "--port", "0"], cwd=folder, stdout=-1, stderr=log, start_new_session=True
        )
    assert process.stdout is not None
    line = b""
    with trio.fail_after(DEADLINE):
        while not line.endswith(b"\n"):
            data = await process.stdout.receive_some()
            assert data, (folder / "log").read_text()
            line += data
    return Command(process, line.decode(), folder / "log")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "file", "code", "start"),
    [
        ("README.md", "chat.py", None, "nexios-trio run"),
        ("docs/tutorial/02-echo.md", "main.py", "examples/echo/app.py", "nexios-trio run main:app"),
        ("docs/tutorial/03-chat.md", "chat.py", None, ""),
    ],
)
async def test_save_serve_and_talk(tmp_path: Path, page: str, file: str, code: str | None, start: str) -> None:
    text = PROJECT / page
    saved = blocks(text, "python")[0] if code is None else (PROJECT / code).read_text()
    (tmp_path / file).write_text(saved)
    words = typed(text, start) if start else ["nexios-trio", "run", f"{Path(file).stem}:app"]
    server = await serve(tmp_path, words)
    try:
        path, said, answers = session(text)
        expected = re.sub(r"\w*…", '[^"]*', re.escape(answers[0]))  # an id is another one each time
        shown = await talk(server.port, path, said, expected)
        assert "Connected to ws://127.0.0.1:" in shown
    finally:
        kill_group(server.process)
        with trio.CancelScope(shield=True):
            await server.process.wait()
            await server.process.stdout.aclose()


@pytest.mark.slow
def test_the_readme_s_test(tmp_path: Path) -> None:
    page = PROJECT / "README.md"
    application, test = blocks(page, "python")
    (tmp_path / "chat.py").write_text(application)
    (tmp_path / "test_chat.py").write_text(test)
    program, *words = typed(page, "pytest")
    done = subprocess.run(
        [sys.executable, "-m", program, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert " 1 passed" in done.stdout, done.stdout
