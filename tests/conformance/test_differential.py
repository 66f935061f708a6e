"""The same requests to Apache ZooKeeper and to zoolet: every answer and event must be the same.

A failure prints its seed and the shortest sequence on which the servers differ. The long run is
``make conformance``; one seed again: ``pytest tests/conformance/test_differential.py --first-seed N
--seeds 1 --requests N``, with the same ``--apache-jars``.
"""

import contextlib
import itertools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.differential.listed import MET_AT_RANDOM, PAGE, Excuses, read_listed
from tests.support.differential.play import (
    Difference,
    FreshServers,
    Ports,
    describe_step,
    first_difference,
    shrink,
)
from tests.support.differential.step_types import (
    RELEASE_3_8,
    RELEASE_3_9,
    Burst,
    Dialect,
    Request,
    Step,
)
from tests.support.differential.steps import generate
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.model.stat import Stat
from zoolet.state_machine.access import digest_of
from zoolet.state_machine.tree import Tree
from zoolet.storage.disk import Disk
from zoolet.storage.snapshots import Image, write_snapshot
from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.apache import release_of
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring

SETTINGS = (
    {"extendedTypesEnabled": "true"},
    {"enforceQuota": "true"},
    {"extendedTypesEnabled": "true", "enforceQuota": "true", "skipACL": "yes"},
    {"DigestAuthenticationProvider.superDigest": digest_of(b"super:admin")},
)
"""What a server is set up with, by seed in turn."""

LISTED = {name: row for name, row in read_listed(PAGE.read_text()).items() if name in MET_AT_RANDOM}
"""What docs/compatibility.md lists and random requests may meet: nothing else is excused."""

SHRINKING_ATTEMPTS = 150

COMMON = {"tickTime": 3000, "znode.container.checkIntervalMs": 10**8}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" not in metafunc.fixturenames:
        return
    first = metafunc.config.getoption("--first-seed")
    seeds = metafunc.config.getoption("--seeds")
    metafunc.parametrize("seed", range(first, first + seeds))


@pytest.mark.timeout(3000)
def test_answers_are_the_originals(
    seed: int, tmp_path: Path, apache_jars: Path, request: pytest.FixtureRequest
) -> None:
    dialect = dialect_of(apache_jars)
    settings = SETTINGS[seed % len(SETTINGS)]
    servers = fresh_servers(tmp_path, apache_jars, settings)
    expect_the_same(seed, request.config.getoption("--requests"), settings, servers, dialect)


def expect_the_same(
    seed: int,
    count: int,
    settings: dict[str, str],
    servers: FreshServers,
    dialect: Dialect,
    shrinking_attempts: int = SHRINKING_ATTEMPTS,
) -> None:
    """Play the requests of a seed on both servers; fail with the shortest sequence that differs."""
    # Apache checks a quota against what is applied, so what is in its pipeline counts by chance.
    longest_burst = 1 if "enforceQuota" in settings else 8
    steps = list(generate(seed, count, dialect, longest_burst))
    excuses = Excuses(LISTED)

    def differ(played: Sequence[Step]) -> Difference | None:
        return first_difference(servers, played, dialect, excuses.cover)

    difference = differ(steps)
    if difference is not None:
        shortest = shrink(
            steps[: difference.number + 1],
            lambda candidate: differ(candidate) is not None,
            shrinking_attempts,
        )
        pytest.fail(report(seed, shortest, str(differ(shortest) or difference)))
    print("listed differences that were met:", dict(excuses.used))


def dialect_of(jars: Path) -> Dialect:
    """Return what the Apache ZooKeeper in a folder may be asked for."""
    return RELEASE_3_9 if release_of(jars) >= (3, 9) else RELEASE_3_8


def fresh_servers(
    directory: Path, jars: Path, settings: dict[str, str], prepared: Path | None = None
) -> FreshServers:
    """Return what starts both with these settings; ``prepared`` holds the files they begin with."""
    numbers = itertools.count()

    @contextlib.contextmanager
    def start() -> Iterator[Ports]:
        home = directory / str(next(numbers))
        if prepared is not None:
            for server in ("apache", "zoolet"):
                shutil.copytree(prepared, home / server / "data" / "version-2")
        with (
            ApacheServer(home / "apache", jars, {**COMMON, **settings}) as apache,
            ServerProcess(home / "zoolet", {**COMMON, **settings}) as zoolet,
        ):
            yield apache.port, zoolet.port

    return start


def report(seed: int, steps: Sequence[Step], difference: str) -> str:
    sequence = "\n".join(f"  {describe_step(step)}" for step in steps)
    return f"seed {seed}: the servers differ after\n{sequence}\nin {difference}"


def test_sequence_numbers_end_where_the_originals_do(tmp_path: Path, apache_jars: Path) -> None:
    """A parent's counter goes no further than 2**31 - 1: that number is given once, then taken."""
    dialect = dialect_of(apache_jars)
    tree = Tree.fresh()
    tree.add("/a", b"", OPEN_ACL, Stat(1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1), created=2**31 - 3)
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    write_snapshot(Disk(), prepared, Image(1, tree, {}))
    create = pack_ustring("/a/s-") + pack_buffer(b"") + pack_acl(OPEN_ACL) + INT.pack(2)
    get_parent = pack_ustring("/a") + b"\0"
    steps: list[Step] = []
    for number in range(1, 12, 2):
        steps += (
            Burst(0, (Request(number, OpCode.CREATE2, create),)),
            Burst(0, (Request(number + 1, OpCode.GET_CHILDREN2, get_parent),)),
        )

    difference = first_difference(
        fresh_servers(tmp_path, apache_jars, {}, prepared), steps, dialect
    )
    assert difference is None, str(difference)
