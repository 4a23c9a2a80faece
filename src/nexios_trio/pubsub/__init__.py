"""Groups as data: members, cursors, pending messages, history. Pure."""
