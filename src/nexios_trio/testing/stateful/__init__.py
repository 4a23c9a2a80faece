"""Hypothesis machines that compare an application with a model (need the extra `testing`)."""

from .groups import GroupMembershipMachine
from .history import HistoryMachine

__all__ = ["GroupMembershipMachine", "HistoryMachine"]
