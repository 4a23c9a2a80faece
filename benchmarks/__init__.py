"""Measurements, as ratios of one run. See `python -m benchmarks --help`."""
