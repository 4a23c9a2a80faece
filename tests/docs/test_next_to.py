"""The page about other frameworks: what its programs do, not only that they run."""

from pathlib import Path
from typing import Any

import pytest
from trio.testing import wait_all_tasks_blocked

from nexios_trio.testing import connect, run_app
from tests.asgi import request
from tests.docs.test_blocks import run_page

PAGE = Path(__file__).parents[2] / "docs/guides/next-to-other-frameworks.md"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    return run_page("page_next_to", PAGE.read_text(encoding="utf-8"), str(PAGE), monkeypatch)


async def test_a_handler_of_theirs_sends_to_a_group_of_ours(page: Any) -> None:
    async with run_app(page.app), connect(page.app, "/ws/orders") as client:
        await wait_all_tasks_blocked()  # until it is in the group
        answer = await request(page.app, "/api/orders/7", "POST")
        assert answer.json() == {"ordered": 7}
        assert await client.receive_json() == {"number": 7}
        assert (await request(page.app, "/api/docs")).status == 200


async def test_paths_of_what_is_mounted(page: Any) -> None:
    async with run_app(page.app):
        assert (await request(page.app, "/pages/about")).body == b"/pages/about below /pages"
        assert (await request(page.app, f"/static/{PAGE.name}")).body == PAGE.read_bytes()
        for framework in ("fastapi", "starlette", "litestar", "quart"):
            assert (await request(page.app, f"/{framework}/nothing")).status == 404


async def test_a_session_reaches_a_websocket(page: Any) -> None:
    async with run_app(page.site):
        answer = await request(page.site, "/login", "POST", body=b'{"user": "ann"}')
        cookie = answer.headers["set-cookie"].partition(";")[0]
        async with connect(page.site, "/ws", headers={"cookie": cookie}) as client:
            assert await client.receive_text() == "hello ann"


async def test_in_another_application(page: Any) -> None:
    async with run_app(page.host), run_app(page.litestar_host), run_app(page.both):
        for host in (page.host, page.litestar_host, page.both):
            assert (await request(host, "/live/nothing")).json() == {"error": "Not Found", "status": 404}
