"""Measurements, as ratios of one run. See `python -m benchmarks --help`.

machine.py      processors, descriptors, the C compiler
servers.py      what is compared: our lanes, and the applications in `peers`
workloads.py    what the servers are made to do, and which figures count
native/         the load generator and the physical limit, in C
comparison.py   rounds, medians
report.py       tables and the plot
micro.py        the core's hot paths, as they grow
"""
