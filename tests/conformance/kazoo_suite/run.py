"""Runs kazoo's whole test suite on Apache ZooKeeper and on zoolet: each test must end the same.

Some tests end badly on both, since they need an ensemble, TLS or SASL; they are listed in the end.
With ``--observer`` both are observers of an Apache ensemble, and only the tests of the client and
of the recipes run. ``make conformance`` runs this in an environment of its own. Usage: run.py JARS
[--observer].
"""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TIMEOUT_S = 900

Outcomes = dict[str, str]

ON_OBSERVERS = [
    f"kazoo.tests.test_{name}"
    for name in (
        *("client", "barrier", "cache", "counter", "election", "lease", "lock", "partitioner"),
        *("party", "queue", "watchers"),
    )
]
"""The modules of the client and of the recipes."""


def outcomes_on(settings: dict[str, str], modules: list[str]) -> Outcomes:
    """Return how each test ended; ``settings`` name the server (``plugin.py``)."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "ZOOKEEPER_VERSION": "3.9.5",
        **settings,
    }
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "--quiet",
                "--no-summary",
                "--timeout=120",
                "--pyargs",
                *modules,
                "-p",
                "tests.conformance.kazoo_suite.plugin",
                "-p",
                "no:cacheprovider",
                f"--config-file={os.devnull}",
                f"--rootdir={scratch}",
                f"--junit-xml={report}",
            ],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        )
        return read_report(report)


def read_report(report: Path) -> Outcomes:
    """Return the outcomes that a JUnit report holds; a test may end badly only once."""
    outcomes: Outcomes = {}
    # pytest has written it a moment ago.
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        bad = {child.tag for child in case} & {"failure", "error", "skipped"}
        outcomes[name] = next(iter(bad), outcomes.get(name, "passed"))
    return outcomes


def main() -> int:
    """Compare, print the figures, return an exit status."""
    jars = {"KAZOO_SUITE_JARS": str(Path(sys.argv[1]).resolve())}
    if "--observer" in sys.argv:
        expected, actual = (
            outcomes_on({**jars, "KAZOO_SUITE_OBSERVER": kind}, ON_OBSERVERS)
            for kind in ("apache", "zoolet")
        )
    else:
        expected = outcomes_on(jars, ["kazoo.tests"])
        actual = outcomes_on({}, ["kazoo.tests"])
    for name, outcomes in (("Apache ZooKeeper", expected), ("zoolet", actual)):
        figures = ", ".join(f"{count} {end}" for end, count in Counter(outcomes.values()).items())
        print(f"kazoo's tests on {name}: {figures}")
    for test in sorted(name for name, end in actual.items() if end != "passed"):
        print(f"  {actual[test]} on zoolet, {expected.get(test)} on Apache: {test}")
    differing = [test for test in expected | actual if expected.get(test) != actual.get(test)]
    if differing or not actual:
        print(f"{len(differing)} tests end differently: {', '.join(differing)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
