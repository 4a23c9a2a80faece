"""What depends on the internals of hypercorn below a connection."""
