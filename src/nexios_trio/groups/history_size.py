"""How many bytes of history a group keeps where the box does not say so."""

import os

from ..exceptions import SettingsError
from ..pubsub.history import DEFAULT_MAX_BYTES

HISTORY_SIZE_VARIABLE = "CHANNEL_BOX_HISTORY_SIZE"


def history_size() -> int:
    """Read the environment, each time anew. Raises: SettingsError."""
    text = os.environ.get(HISTORY_SIZE_VARIABLE)
    if text is None:
        return DEFAULT_MAX_BYTES
    try:
        size = int(text)
    except ValueError:
        size = -1
    if size < 0:
        raise SettingsError(f"{HISTORY_SIZE_VARIABLE} must be a number of bytes, not {text!r}")
    return size
