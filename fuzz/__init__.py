"""What peers send, mutated: `make fuzz`."""
