"""Channels: a connection as a member of groups."""
