"""All attacks. Importing the modules registers them."""

from tests.attack import games, handshakes, messages, outsider, tls
from tests.attack.registry import ATTACKS, Attack

__all__ = ["ATTACKS", "Attack", "games", "handshakes", "messages", "outsider", "tls"]
