"""Every attack of the corpus against our runner, with innocent clients that must see nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import trio

from tests.attack.app import FAST, make_app
from tests.attack.corpus import ATTACKS, Attack
from tests.attack.target import RUNNER, Target, innocents
from tests.server.support import DEADLINE, running

pytestmark = pytest.mark.slow

OURS = [attack for attack in ATTACKS if RUNNER in attack.servers]


@pytest.mark.parametrize("attack", OURS, ids=lambda attack: attack.name.replace(" ", "-"))
async def test_the_attacker_fails_and_nobody_notices(attack: Attack) -> None:
    app = make_app(**FAST)
    async with running(app, server_settings=app.settings) as server:
        target = Target(server.port)
        async with innocents(server.port) as others:
            await others.started()
            with trio.fail_after(2 * DEADLINE):
                await attack.run(target)
            await others.one_more()
        await gone(lambda: app.box.statistics().channels == 0 and app.box.statistics().groups == 0)


async def gone(condition: Callable[[], Any]) -> None:
    """Nothing is left, within the time that a connection's end may take."""
    with trio.fail_after(DEADLINE):
        while not condition():
            await trio.sleep(0.01)
