"""Where tasks and threads stand, told by the user's own code."""

import threading
from pathlib import Path

import trio
from trio.testing import wait_all_tasks_blocked

from nexios_trio.server.task_stacks import Stack, fields_of_thread, stack_of_task, stack_of_thread, waits_for_thread

HERE = str(Path(__file__))


async def deep(depth: int) -> None:
    if depth:
        await deep(depth - 1)
    else:
        await trio.sleep_forever()


async def numbers():
    await trio.sleep_forever()
    yield 1


async def consuming():
    async for _ in numbers():
        pass


async def look_at(function, *args) -> tuple[Stack, bool]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(function, *args)
        await wait_all_tasks_blocked(0.01)
        [task] = nursery.child_tasks
        found = stack_of_task(task), waits_for_thread(task)
        nursery.cancel_scope.cancel()
    return found


async def test_the_innermost_frames_of_a_task():
    stack, is_threaded = await look_at(deep, 20)
    assert not is_threaded
    lines = stack.text.splitlines()
    assert lines[-1] == "  await trio.sleep_forever()"
    assert lines.count("  await deep(depth - 1)") == 7
    assert stack.spot == (HERE, deep.__code__.co_firstlineno + 4)


async def test_a_generator_is_a_place_too():
    stack, _ = await look_at(consuming)
    assert "in consuming\n  async for _ in numbers():" in stack.text
    assert stack.text.endswith("in numbers\n  await trio.sleep_forever()")


async def test_a_task_of_nobody_stands_nowhere():
    stack, waits = await look_at(trio.sleep_forever)
    assert (stack.spot, stack.text, waits) == (None, "", False)


async def test_a_task_that_waits_for_a_thread():
    go_on = threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, go_on.wait)
        await wait_all_tasks_blocked(0.01)
        [task] = nursery.child_tasks
        assert waits_for_thread(task)
        go_on.set()


async def test_a_thread_that_runs_trio_stands_in_the_task_that_it_runs():
    stack = stack_of_thread(threading.get_ident())
    assert "run_forever" not in stack.text  # nor who has started trio
    assert stack.text.endswith("stack = stack_of_thread(threading.get_ident())")
    assert stack.spot is not None
    assert stack.spot[0] == HERE
    assert fields_of_thread(threading.get_ident()) == {}  # it acts for no connection
    assert stack_of_thread(-1) == Stack()
