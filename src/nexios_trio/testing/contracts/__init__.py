"""The contracts of what others may supply, as functions to be called in their tests.

engine.py       `check_engine`: what carries messages between processes
policy.py       `check_overflow_policy`: what happens when an outbox is full
"""

from .engine import check_engine
from .policy import check_overflow_policy

__all__ = ["check_engine", "check_overflow_policy"]
