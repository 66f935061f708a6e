"""The same requests to Apache's observer and to zoolet's: every answer and event must be the same.

Each observer has an ensemble of its own, so that both ensembles give the same zxids. A failure
prints its seed and the shortest sequence on which the observers differ. The long run is ``make
conformance``; one seed again: ``pytest tests/conformance/test_observer.py --first-seed N
--observer-seeds 1 --requests N --ensemble-members 3``, with the same ``--apache-jars``.
"""

import contextlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conformance.test_differential import (
    COMMON,
    SETTINGS,
    dialect_of,
    expect_the_same,
)
from tests.support.differential.play import (
    FreshServers,
    Ports,
)
from tests.support.differential.step_types import of_observers
from tests.support.ensemble import ApacheEnsemble, new_apache_observer, new_observer

MY_ID = 101
HEAP_MIB = 128
LONGEST_SESSION_MS = 3_600_000
"""No session that a client has left expires during a run."""

SHRINKING_ATTEMPTS = 40


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" not in metafunc.fixturenames:
        return
    first = metafunc.config.getoption("--first-seed")
    seeds = metafunc.config.getoption("--observer-seeds")
    metafunc.parametrize("seed", range(first, first + seeds))


@pytest.mark.timeout(3000)
def test_answers_are_those_of_apaches_observer(
    seed: int, tmp_path: Path, apache_jars: Path, request: pytest.FixtureRequest
) -> None:
    dialect = of_observers(dialect_of(apache_jars))
    settings = SETTINGS[seed % len(SETTINGS)]
    members = request.config.getoption("--ensemble-members")
    servers = fresh_observers(tmp_path, apache_jars, settings, members)
    count = request.config.getoption("--requests")
    expect_the_same(seed, count, settings, servers, dialect, SHRINKING_ATTEMPTS)


def fresh_observers(
    directory: Path, jars: Path, settings: dict[str, str], members: int
) -> FreshServers:
    """Return what starts two ensembles, each with one of the observers."""
    numbers = itertools.count()
    common = {**COMMON, "maxSessionTimeout": LONGEST_SESSION_MS, **settings}

    @contextlib.contextmanager
    def start() -> Iterator[Ports]:
        home = directory / str(next(numbers))
        ensembles = [
            ApacheEnsemble(home / name, jars, HEAP_MIB, common, count=members)
            for name in ("of-apache", "of-zoolet")
        ]
        observers = [
            new_apache_observer(home / "apache", ensembles[0], MY_ID, common),
            new_observer(home / "zoolet", ensembles[1], MY_ID, common),
        ]
        with contextlib.ExitStack() as started, ThreadPoolExecutor(2) as pool:
            list(pool.map(started.enter_context, ensembles))
            list(pool.map(started.enter_context, observers))
            yield observers[0].port, observers[1].port

    return start
