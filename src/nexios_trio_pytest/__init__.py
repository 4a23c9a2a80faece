"""The pytest plugin: `world`, `app_client` and `box`, in virtual time, with a look for leaks after each test.

The mark `cancel_everywhere` is in `marks`, and comes with it.

Nothing of the package is imported before a test asks for one of these, so the plugin costs nothing where it is not used
and hides nothing from coverage; that is why it is a package of its own. `-p no:nexios_trio` switches it off.

An async test that uses a fixture runs on a virtual clock, in an order of tasks that is the same each time, by giving
pytest-trio a runner of ours; in `trio_mode` and without it.
"""

import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from nexios_trio.testing import Client, World
    from nexios_trio.websockets import ChannelBox

__all__ = ["app_client", "box", "world"]

pytest_plugins = ["nexios_trio_pytest.marks"]

FIXTURES = {"world", "app_client", "box"}

NOBODY_RUNS_IT = "async def functions are not natively supported"  # how pytest begins what it says of an async test
TRIO_MODE = "pytest-trio runs async tests with `trio_mode = true` below [pytest] in pytest.ini, or @pytest.mark.trio"

_worlds = pytest.StashKey[list[Any]]()


def _run(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Run a test in place of `trio.run`; pytest-trio calls it."""
    from nexios_trio.testing import run

    return run(function, *args, **options)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let async tests that use our fixtures run in virtual time, unless they choose a clock or a runner themselves."""
    if not config.pluginmanager.hasplugin("trio"):
        return
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        is_async = inspect.iscoroutinefunction(getattr(item, "obj", None))
        chosen = any("run" in marker.kwargs for marker in item.iter_markers("trio"))
        if names & FIXTURES and is_async and not chosen:
            item.add_marker(pytest.mark.trio(run=_run), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows the seed and the timeline of each world, once, in a section of its own.

    So too what runs an async test that nothing has run, where the tests are about us.
    """
    stories = [each.story() for each in item.stash.get(_worlds, []) if each.nodes]
    if call.excinfo is not None and stories:
        _take_away(stories, call.excinfo.value)
    report = yield
    if report.failed:
        for story in stories:
            title, _, timeline = story.partition("\n")
            report.sections.append((title.rstrip(":"), timeline))
        if "nexios_trio" in sys.modules and call.excinfo is not None and NOBODY_RUNS_IT in str(call.excinfo.value):
            report.sections.append(("for Trio", TRIO_MODE))
    return report


def _take_away(stories: list[str], error: BaseException) -> None:
    notes = getattr(error, "__notes__", [])
    notes[:] = [note for note in notes if note not in stories]
    for each in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        _take_away(stories, each)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> "Generator[Callable[..., World]]":
    """Makes worlds: `async with world(app, seed=7) as w:`. Arguments as of `nexios_trio.testing.World`.

    The test runs in virtual time. A failure shows seed and timeline; leaving the block looks for gaps and leaks.
    """
    from nexios_trio.testing import World

    made: list[World] = []
    request.node.stash[_worlds] = made

    def make(*args: Any, **options: Any) -> "World":
        made.append(World(*args, **options))
        return made[-1]

    yield make
    for each in made:
        for node in each.nodes:
            _check_box(getattr(node.app, "box", None))


@pytest.fixture
def app_client() -> "Generator[Callable[..., AbstractAsyncContextManager[Client]]]":
    """Connects to an application: `async with app_client(app, "/ws") as ws:`, which is started and stopped around.

    Arguments as of `nexios_trio.testing.connect`. Blocks may be nested; the application is started for the outermost.
    """
    from nexios_trio.testing import run_app
    from nexios_trio.testing.client import connect

    running: list[Any] = []
    apps: list[Any] = []

    @asynccontextmanager
    async def open_client(app: Any, *args: Any, **options: Any) -> "AsyncGenerator[Client]":
        if app in running:
            async with connect(app, *args, **options) as client:
                yield client
            return
        running.append(app)
        apps.append(app)
        try:
            async with run_app(app), connect(app, *args, **options) as client:
                yield client
        finally:
            running.remove(app)

    yield open_client
    for app in apps:
        _check_box(getattr(app, "box", None))


@pytest.fixture
def box() -> "Generator[ChannelBox]":
    """A new box, the current one for the test. At the end nobody may be in it."""
    from nexios_trio.groups.current_box import use_box
    from nexios_trio.websockets import ChannelBox

    mine = ChannelBox()
    with use_box(mine):
        yield mine
    _check_box(mine)


def _check_box(checked: Any) -> None:
    from nexios_trio.testing.internals import groups_of, members_of
    from nexios_trio.websockets import ChannelBox

    if not isinstance(checked, ChannelBox):
        return
    left = [f"{channel} is still known to the box" for channel in checked.channels()]
    for name in groups_of(checked):
        left += [f"{channel} is still a member of group {name!r}" for channel in members_of(checked, name)]
    if left:
        pytest.fail("the test has left something behind:\n" + "\n".join(left), pytrace=False)
