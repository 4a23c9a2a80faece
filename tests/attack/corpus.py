"""All attacks. Importing the modules registers them."""

from tests.attack import handshakes, messages
from tests.attack.registry import ATTACKS, Attack

__all__ = ["ATTACKS", "Attack", "handshakes", "messages"]
