"""Run a module like `python -m MODULE ARGUMENTS`, with a `time.perf_counter` that stands still.

Our lanes measure how long a connection's turn takes, and whoever takes long waits for the others. Under valgrind
everything takes fifty times as long: each message would count as a flood, which costs work that a server at its usual
speed does not have, more or less of it with the hour. Trio has its clock from before, so timers and deadlines run.
"""

import itertools
import runpy
import sys
import time

import trio  # noqa: F401  # keeps the clock that it imports here


def main() -> None:
    time.perf_counter = itertools.repeat(0.0).__next__
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
