"""The colour is the contract: every public async function is a checkpoint, no public sync one is.

`tests/checkpoints` says how to call each. A public function without a recipe is a failure here.
"""

import inspect
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from trio.testing import assert_checkpoints, assert_no_checkpoints

from tests.checkpoints import applications, connections, kit, outside, parts, realtime
from tests.checkpoints.stage import stage
from tests.checkpoints.surface import public_functions

RECIPES = {
    **connections.RECIPES,
    **applications.RECIPES,
    **parts.RECIPES,
    **kit.RECIPES,
    **outside.RECIPES,
    **realtime.RECIPES,
}


def test_every_public_function_has_a_recipe():
    called = {name.split(",")[0] for name in RECIPES}
    public = set(public_functions())
    assert sorted(public - called) == [], "add a recipe for each to tests/checkpoints"
    assert sorted(called - public) == [], "nobody can call these any more"


@pytest.mark.parametrize("name", RECIPES)
async def test_the_colour_is_the_contract(name, autojump_clock):
    recipe = RECIPES[name]
    async with stage() as s:
        prepared = await recipe(s) if inspect.iscoroutinefunction(recipe) else lambda: recipe(s)
        with assert_no_checkpoints():
            result = prepared()
        is_async = await checkpoints(result)
    function = public_functions()[name.split(",")[0]]
    assert is_async or not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function))


async def checkpoints(result: Any) -> bool:
    """Whether there was something to await, which must have been a checkpoint."""
    match result:
        case Awaitable():
            with assert_checkpoints():
                await result
        case AbstractAsyncContextManager():
            with assert_checkpoints():
                await result.__aenter__()
            await result.__aexit__(None, None, None)
        case _ if hasattr(result, "__anext__"):
            with assert_checkpoints():
                await anext(result)
            if inspect.isasyncgen(result):
                await result.aclose()
        case _:
            return False
    return True
