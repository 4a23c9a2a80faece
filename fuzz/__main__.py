"""`python -m fuzz TARGET`: mutate the stored corpus for some seconds, guided by coverage (atheris).

Exit status 0 if nothing was found. What breaks a promise is written to the directory FOUND; put it into
`fuzz/corpus/TARGET`, where `make test` runs it for ever, and mend the parser.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=[
        *("nexios_trio.protocol", "nexios_trio.core", "nexios_trio.realtime.protocol"),
        *("nexios_trio.server.request_head", "nexios_trio.server.ordinary_head"),
    ]
):
    from fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--found", type=Path, default=Path())
    given = parser.parse_args()
    given.found.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as new:
        options = [
            f"-max_total_time={given.seconds}",
            f"-artifact_prefix={given.found}/",
            "-max_len=4096",
            "-timeout=10",
        ]
        quiet = ["-verbosity=0", "-print_final_stats=1", "-rss_limit_mb=1024"]
        # The first directory gets what is new; the stored corpus is only read.
        atheris.Setup([sys.argv[0], *options, *quiet, new, str(CORPUS / given.target)], TARGETS[given.target])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
