"""Which handler serves a path, and with which parameters."""

import pytest

from tests.contract.peers import Refused


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/rooms/blue/user/7", ["user", {"room": "blue", "id": 7}]),
        ("/rooms/blue", ["root", {"room": "blue"}]),
        ("/other/user/7", ["user", {"id": 7}]),
        ("/shared/one", ["one", {}]),
        ("/shared/two", ["two", {}]),
        ("/shared/three/four", ["rest", {"rest": "three/four"}]),
        ("/ws/ws", ["ws", {}]),
        ("/both", ["both", {}]),
    ],
)
async def test_who_answers(place, path, answer):
    async with place.connect(f"/nested{path}") as peer:
        assert await peer.receive_json() == answer


@pytest.mark.parametrize("path", ["/rooms/blue/user/x", "/rooms", "/wsfoo", "/ws", "/ws/wsfoo", "/other/user", ""])
async def test_nobody_answers(place, path):
    with pytest.raises(Refused) as refused:
        async with place.connect(f"/nested{path}"):
            pass
    assert refused.value.status == 404


async def test_one_path_for_both_protocols(place):
    async with place.http() as http:
        assert (await http.get("/nested/both")).text == "http"
