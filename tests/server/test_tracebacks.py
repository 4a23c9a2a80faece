"""Tracebacks that begin with the user's own code."""

import importlib
import traceback

import pytest

from nexios_trio import NexiosApp
from nexios_trio.exceptions import LifecycleError
from nexios_trio.server.tracebacks import trim_traceback


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
