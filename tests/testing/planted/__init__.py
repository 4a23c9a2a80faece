"""Copies of the example chat, each with one mistake in it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import examples.chat.app

__all__ = ["PLANTS", "copy_of_chat"]

SOURCE = Path(examples.chat.app.__file__)

FINALLY = """            yield room
        finally:
            room.remove(user)
"""
SHIELDED = (
    "            with trio.move_on_after(1, shield=True):  # the others hear of it even if we are being cancelled\n"
)
IMPORT = ("    WebSocketException,\n", "    WebSocketDisconnect,\n    WebSocketException,\n")

# What is replaced by what; the mistake's line is at `# planted`.
PLANTS: dict[str, list[tuple[str, str]]] = {
    "nothing": [],
    "leave_forgotten_on_cancellation": [
        IMPORT,
        (FINALLY, FINALLY.replace("finally:", "except* WebSocketDisconnect:  # planted")),
        (SHIELDED, "            if True:\n"),
    ],
    "await_in_a_finally": [
        (FINALLY, FINALLY.replace("room.remove", 'await user.tell("leaving")  # planted\n            room.remove')),
    ],
    "lost_wake_up": [
        (
            "        presence.changed = trio.Event()\n        try:\n",
            "        try:\n",
        ),
        (
            "        await trio.sleep(0.1)\n",
            "        await trio.sleep(0.1)\n        presence.changed = trio.Event()  # planted\n",
        ),
    ],
    "history_off_by_one": [
        (
            "for message in await ChannelBox.show_history(user.group)]",
            "for message in (await ChannelBox.show_history(user.group))[1:]]  # planted",
        ),
    ],
    "broadcast_stops_at_a_dead_peer": [
        (
            "        await ChannelBox.group_send(self.group, event, save_history=keep, transient=not keep, key=id)\n",
            """        for channel in await ChannelBox.show_groups().get(self.group, {}):
            try:
                await channel.send(event)
            except WebSocketDisconnect:
                return  # planted
""",
        ),
        IMPORT,
    ],
}


def copy_of_chat(plant: str, folder: Path) -> ModuleType:
    """The chat's module with a mistake, in a file of its own, and as new as in a new process."""
    source = SOURCE.read_text()
    for before, after in PLANTS[plant]:
        assert source.count(before) == 1, f"the example has changed: there is no {before!r}"
        source = source.replace(before, after)
    path = folder / f"chat_{plant}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[path.stem]
    return module
