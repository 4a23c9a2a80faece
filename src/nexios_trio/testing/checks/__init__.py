"""What must hold at the end of a scenario, and at every step of it."""
