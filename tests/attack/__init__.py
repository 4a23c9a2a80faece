"""Attacks on a running server, each with innocent clients beside it: `make attack`."""
