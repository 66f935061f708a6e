"""The same requests to Apache ZooKeeper and to zoolet: every answer and event must be the same.

A failure prints its seed and the shortest sequence on which the servers differ. The long run is
``make conformance``; one seed again: ``pytest tests/conformance/test_differential.py --first-seed N
--seeds 1 --requests N``, with the same ``--apache-jars``.
"""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.apache import DEBIAN_JARS, ApacheServer
from tests.support.differential.play import (
    FreshServers,
    Ports,
    describe_step,
    first_difference,
    shrink,
)
from tests.support.differential.steps import RELEASE_3_8, RELEASE_3_9, Step, generate
from zoolet.core.access import digest_of
from zoolet.testing import ServerProcess

SETTINGS = (
    {"extendedTypesEnabled": "true"},
    {"enforceQuota": "true"},
    {"extendedTypesEnabled": "true", "enforceQuota": "true", "skipACL": "yes"},
    {"DigestAuthenticationProvider.superDigest": digest_of(b"super:admin")},
)
"""What a server is set up with, by seed in turn."""

COMMON = {"tickTime": 3000, "znode.container.checkIntervalMs": 10**8}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    first = metafunc.config.getoption("--first-seed")
    seeds = metafunc.config.getoption("--seeds")
    metafunc.parametrize("seed", range(first, first + seeds))


@pytest.mark.timeout(3000)
def test_answers_are_the_originals(
    seed: int, tmp_path: Path, apache_jars: Path, request: pytest.FixtureRequest
) -> None:
    dialect = RELEASE_3_8 if apache_jars == DEBIAN_JARS else RELEASE_3_9
    settings = SETTINGS[seed % len(SETTINGS)]
    # Apache checks a quota against what is applied, so what is in its pipeline counts by chance.
    longest_burst = 1 if "enforceQuota" in settings else 8
    count = request.config.getoption("--requests")
    steps = list(generate(seed, count, dialect, longest_burst))
    servers = _servers(tmp_path, apache_jars, settings)

    difference = first_difference(servers, steps, dialect)
    if difference is not None:
        shortest = shrink(
            steps[: difference.number + 1],
            lambda candidate: first_difference(servers, candidate, dialect) is not None,
        )
        pytest.fail(_report(seed, shortest, str(first_difference(servers, shortest, dialect))))


def _servers(directory: Path, jars: Path, settings: dict[str, str]) -> FreshServers:
    numbers = itertools.count()

    @contextlib.contextmanager
    def start() -> Iterator[Ports]:
        home = directory / str(next(numbers))
        with (
            ApacheServer(home / "apache", jars, {**COMMON, **settings}) as apache,
            ServerProcess(home / "zoolet", {**COMMON, **settings}) as zoolet,
        ):
            yield apache.port, zoolet.port

    return start


def _report(seed: int, steps: Sequence[Step], difference: str) -> str:
    sequence = "\n".join(f"  {describe_step(step)}" for step in steps)
    return f"seed {seed}: the servers differ after\n{sequence}\nin {difference}"
