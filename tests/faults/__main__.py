"""`make faults`: every row of the table against each server that there is. Exit status 1 if something is not as it must be.

sent        messages of which a publisher was told that they are there
received    by all members together: of each group two on each node, one that stays and one that comes and goes
doubled, misordered, silent   0; silent: missing, and no notice stands where it would have come
announced   notices; 0 where the server forgets nothing
unknown     messages of which nobody has said whether they are there
refused     messages of which somebody has said that they are not; phantom: of those, the ones that came; 0
retold      gaps that one member was told of twice; 0
faults      how often it has happened; closed: connections of members, by close code
"""

import argparse
import sys
import time

import trio

from tests.engines.redis.server import BINARIES, MISSING
from tests.faults.rows import ROWS


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--server", choices=sorted(BINARIES), action="append", help="of those that there are; all by default"
    )
    parser.add_argument("--only", default="", help="rows in whose name this stands")
    parser.add_argument("--messages", type=int, default=10_400, help="in each row, of all publishers together")
    given = parser.parse_args()
    if not BINARIES:
        print(MISSING, file=sys.stderr)
        return 1
    print(f"{'':50}" + "".join(f"{name:>11}" for name in COLUMNS) + f"{'faults':>8}  closed, seconds")
    failures = 0
    for server in given.server or sorted(BINARIES):
        for row in ROWS:
            if given.only not in row.name:
                continue
            begun = time.monotonic()
            result, codes, happened = trio.run(row.run, BINARIES[server], given.messages)
            problems = row.problems(result)
            failures += bool(problems)
            closed = " ".join(f"{code}:{times}" for code, times in sorted(codes.items())) or "-"
            print(
                f"{server + ': ' + row.name:50}"
                + "".join(f"{getattr(result, name):11}" for name in COLUMNS)
                + f"{happened:8}  {closed}, {time.monotonic() - begun:.0f}"
                + "".join(f"  FAILED: {problem}" for problem in problems),
                flush=True,
            )
    return int(failures > 0)


COLUMNS = (
    "sent",
    "received",
    "doubled",
    "misordered",
    "announced",
    "silent",
    "unknown",
    "refused",
    "phantom",
    "retold",
)

if __name__ == "__main__":
    sys.exit(main())
