"""The contracts of what others may supply, as functions to be called in their tests.

engine.py       `check_engine`: what carries messages between processes
transport.py    `check_transport`: a way to reach one peer
policy.py       `check_overflow_policy`: what happens when an outbox is full
"""

from .engine import EngineFaults, check_engine
from .policy import check_overflow_policy
from .transport import TransportPeer, check_transport

__all__ = ["EngineFaults", "TransportPeer", "check_engine", "check_overflow_policy", "check_transport"]
