"""Hypothesis machines that compare an application with a model (need the extra `testing`)."""

from .groups import GroupMembershipMachine
from .history import HistoryMachine
from .presence import PresenceMachine
from .resume import ResumeMachine

__all__ = ["GroupMembershipMachine", "HistoryMachine", "PresenceMachine", "ResumeMachine"]
