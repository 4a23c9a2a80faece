"""A virtual world: nodes, a network and a clock that are the same for the same seed."""
