"""The box of an application."""

from typing import Any

from ..engines.default import make_shared_engine
from .box import ChannelBox

__all__ = ["own_box"]


def own_box(box: ChannelBox | None, max_groups_per_channel: int, **own: Any) -> ChannelBox:
    """Return the box of an application: the one that it was given, or one of its own, as `own` says.

    Raises: TypeError where there are both.
    """
    given = [name for name, value in own.items() if value is not None]
    if box is not None and given:
        raise TypeError(f"{given[0]} belongs to the box that is given: ChannelBox({given[0]}=...)")
    if box is None:
        box = ChannelBox(**own, max_groups_per_channel=max_groups_per_channel)
    engine = make_shared_engine() if box.has_default_engine else None
    if engine is not None:
        box.share(engine)
    return box
