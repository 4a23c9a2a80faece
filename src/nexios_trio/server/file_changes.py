"""Which files change: what `--reload` watches. Needs watchfiles, of the extra `reload`."""

import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path, PurePath
from typing import Final

import trio

__all__ = ["CannotWatch", "watch_files"]

QUIET_MILLISECONDS: Final = 50  # without another change, then those up to there are told together
MOST_MILLISECONDS: Final = 500  # that changes are gathered for

NextChanges = Callable[[], Awaitable[set[Path]]]


class CannotWatch(Exception):
    """The text says why, and what to do."""


@asynccontextmanager
async def watch_files(folders: Sequence[Path], patterns: Sequence[str]) -> AsyncGenerator[NextChanges]:
    """Watch the files below these folders whose path ends as one of the patterns says.

    Gives a function that waits for changes, and returns the files. From its first call on, nothing is lost. What tools
    keep for themselves (`.git`, `.venv`, `__pycache__`, `node_modules` and their like) is left alone.

    Cancellation: within `QUIET_MILLISECONDS`, on which a thread looks up.
    Raises: CannotWatch.
    """
    try:
        import watchfiles
    except ImportError:
        raise CannotWatch("--reload needs watchfiles: pip install 'nexios-trio[reload]'") from None
    is_ordinary = watchfiles.DefaultFilter()
    is_over = threading.Event()

    def is_wanted(change: watchfiles.Change, path: str) -> bool:
        return is_ordinary(change, path) and any(map(PurePath(path).match, patterns))

    generator = watchfiles.awatch(
        *folders,
        watch_filter=is_wanted,
        debounce=MOST_MILLISECONDS,
        step=QUIET_MILLISECONDS,
        stop_event=is_over,  # type: ignore[arg-type]  # any event that a thread can look at
        ignore_permission_denied=True,
    )
    async with trio.open_nursery() as nursery, aclosing(generator) as changes:
        nursery.start_soon(_set_when_cancelled, is_over)

        async def next_changes() -> set[Path]:
            try:
                found = await anext(changes, None)
            except (OSError, RuntimeError) as error:
                names = " and ".join(map(str, folders))
                raise CannotWatch(
                    f"cannot watch {names}: {error}; --reload-dir names other folders, and with"
                    " WATCHFILES_FORCE_POLLING=true in the environment no notice from the system is needed"
                ) from None
            if found is None:  # our thread was sooner than the cancellation that has stopped it
                await trio.sleep_forever()
            return {Path(path) for _, path in found}

        yield next_changes
        nursery.cancel_scope.cancel(reason="nobody waits for changes")


async def _set_when_cancelled(event: threading.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        event.set()
