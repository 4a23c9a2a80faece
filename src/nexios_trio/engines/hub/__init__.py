"""The workers of one machine: their parent numbers and keeps what they say to each other."""
