"""Soak test of the job system: random jobs, users and faults from a seed, then invariants.

Usage: python -m tests.soak [--seed N] [--seconds N]. Ends with status 1 if an invariant does not
hold; the files of the run are kept then.
"""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.soak.soak import soak


def main() -> None:
    """Run a soak test and print its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="repeats the choices of a run; default: random")
    parser.add_argument("--seconds", type=float, default=1800.0, help="how long faults are made")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="keep the files of the run")
    options = parser.parse_args()
    seed = random.randrange(1 << 31) if options.seed is None else options.seed
    home = Path(tempfile.mkdtemp(prefix="zoolet-soak-"))
    report = soak(home, seed, options.seconds, options.workers)
    print(report.text)
    if options.keep or report.problems:
        print(f"The files of this run are in {home}.")
    else:
        shutil.rmtree(home, ignore_errors=True)
    sys.exit(1 if report.problems else 0)


if __name__ == "__main__":
    main()
