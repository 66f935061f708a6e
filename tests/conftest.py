"""What all tests share: a real server process, and a kazoo client on it."""

import contextlib
import gc
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kazoo.protocol.connection
import kazoo.retry
import pytest
from hypothesis import settings
from kazoo.client import KazooClient

import zoolet
from tests.support import hanging, on_observer, skips
from tests.support.apache import require_apache
from tests.support.ensemble import ApacheEnsemble, new_observer
from tests.support.process_state import restoring_process
from tests.support.reused_servers import ReusedServers
from zoolet.model.build import KIND
from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.apache import DEBIAN_JARS
from zoolet.testing.servers.process import ExternalServer

# No test asserts a duration, and hypothesis's own limit of 200 ms an example does so.
settings.register_profile("zoolet", deadline=None)
settings.load_profile("zoolet")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say what the long runs (make conformance) set otherwise than the short ones."""
    parser.addoption(
        "--apache-jars",
        type=Path,
        default=DEBIAN_JARS,
        help="the folder of jars of the Apache ZooKeeper to compare with",
    )
    parser.addoption(
        "--installed",
        type=Path,
        metavar="BIN_DIR",
        help="the bin directory of the environment with which the pages are run (tests/docs)",
    )
    parser.addoption("--deb", type=Path, help="Debian's package to test (make deb)")
    parser.addoption(
        "--kind",
        choices=["compiled", "pure Python"],
        help="test the installed zoolet, which must be of this kind, not the one in src/",
    )
    parser.addoption("--kill-rounds", type=int, default=8, help="of kill -9, half short of memory")
    parser.addoption("--down-s", type=float, default=2.0, help="of the result store")
    parser.addoption("--ensemble-jobs", type=int, default=2000, help="on three members")
    parser.addoption("--leader-kills", type=int, default=1, help="while they run")
    parser.addoption("--client-leader-kills", type=int, default=3, help="under both clients")
    parser.addoption("--client-seed", type=int, help="of the random tests of the clients")
    parser.addoption("--client-threads-s", type=float, default=4.0, help="with 16 threads, faults")
    parser.addoption("--soak-seed", type=int, default=1, help="of the soak test of jobs")
    parser.addoption("--soak-s", type=float, default=30.0, help="how long faults are made in it")
    parser.addoption("--limits-seed", type=int, default=1, help="of the faults under limits")
    parser.addoption("--limits-s", type=float, default=0.0, help="how long such faults are made")
    parser.addoption("--observer-seed", type=int, help="of the faults of an observer")
    parser.addoption(
        "--observer-kind", choices=["zoolet", "apache"], default="zoolet", help="that has faults"
    )
    parser.addoption("--observer-rounds", type=int, default=3, help="of these faults")
    parser.addoption("--fuzz-seed", type=int, default=1, help="of the values in a queue")
    parser.addoption("--fuzz-rounds", type=int, default=12, help="of 25 such values each")
    parser.addoption("--first-world", type=int, default=1, help="of the simulation")
    parser.addoption("--worlds", type=int, default=300, help="how many of them")
    parser.addoption("--first-observer-world", type=int, default=1, help="of its simulation")
    parser.addoption("--observer-worlds", type=int, default=100, help="how many of them")
    parser.addoption("--first-client-world", type=int, default=1, help="of the clients' simulation")
    parser.addoption("--client-worlds", type=int, default=25, help="how many for each client")
    parser.addoption("--first-seed", type=int, default=1, help="of the differential test")
    parser.addoption("--seeds", type=int, default=4, help="how many, one after the other")
    parser.addoption("--requests", type=int, default=1000, help="of each seed")
    parser.addoption(
        on_observer.OPTION, action="store_true", help="run with all clients on an observer"
    )
    parser.addoption("--observer-seeds", type=int, default=1, help="the same with observers")
    parser.addoption(
        "--ensemble-members", type=int, default=1, help="of the ensembles with an observer"
    )
    parser.addoption(
        "--screenshots", type=Path, metavar="DIR", help="where the web page's pictures are written"
    )
    _add_archive_options(parser)


def _add_archive_options(parser: pytest.Parser) -> None:
    """Say the same for archives and mirrors."""
    parser.addoption("--archive-seed", type=int, help="of the faults of an archiver")
    parser.addoption("--archive-seconds", type=float, default=4.0, help="of these faults")
    parser.addoption("--first-mirror-world", type=int, default=1, help="of the mirror")
    parser.addoption("--mirror-worlds", type=int, default=3, help="how many for each policy")
    parser.addoption("--mirror-rounds", type=int, default=2, help="of faults of a mirror")
    parser.addoption("--mirror-seed", type=int, help="of these faults")
    parser.addoption(
        "--mirror-target", choices=["zoolet", "apache"], default="zoolet", help="of this mirror"
    )


# A client that connects again draws its pauses from the program's own generator, in a thread. While
# hypothesis makes a value, it takes that for a mistake of the test.
kazoo.retry.random = kazoo.protocol.connection.random = random.Random()


def pytest_configure(config: pytest.Config) -> None:
    """Add the hooks of ``tests/support/``; refuse another zoolet than the wanted one.

    Compiled modules that are older than a source are refused too.
    """
    config.pluginmanager.register(hanging)
    config.pluginmanager.register(skips)
    package = Path(zoolet.__file__)
    if wanted := config.getoption("--kind"):
        if not package.is_relative_to(sys.prefix):
            pytest.exit(f"{package} is not installed in {sys.prefix}", 2)
        if wanted != KIND:
            pytest.exit(f"{package} is {KIND}, not {wanted}", 2)
        return
    stamp = Path(__file__).parents[1] / ".venv" / ".compiled"
    remedy = "run make setup to compile it, or make pure to run the sources"
    for compiled in package.parent.rglob("*.so"):
        stem = compiled.with_name(compiled.name.partition(".")[0])
        source = next(filter(Path.exists, map(stem.with_suffix, (".c", ".py"))), None)
        if source is None:
            pytest.exit(f"{compiled} has no source: {remedy}", 2)
        if not stamp.exists() or source.stat().st_mtime > stamp.stat().st_mtime:
            pytest.exit(f"{source} is newer than what was compiled of it: {remedy}", 2)


@pytest.fixture(autouse=True)
def _process_of_the_tests() -> Iterator[None]:
    """Let no test change the log or the signals of the tests after it."""
    with restoring_process():
        yield


@pytest.fixture
def down_s(request: pytest.FixtureRequest) -> float:
    """How long what a test stops is to be down."""
    seconds: float = request.config.getoption("--down-s")
    return seconds


@pytest.fixture(scope="session")
def apache_jars(request: pytest.FixtureRequest) -> Path:
    """Where the jars of Apache ZooKeeper are; skips where there are none."""
    jars: Path = request.config.getoption("--apache-jars")
    return require_apache(jars)


@pytest.fixture
def apache(tmp_path: Path, apache_jars: Path) -> Iterator[ApacheServer]:
    """A running Apache ZooKeeper with an empty data directory."""
    with ApacheServer(tmp_path / "apache", apache_jars) as running:
        yield running


LONGEST_TESTS = ("tests/crash/", "tests/platform/", "tests/soak/")
"""The folders with the longest tests."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the longest tests, so that no test process runs one of them alone at the end.

    With ``--on-observer``, select the tests that run on an observer.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST_TESTS))
    if config.getoption(on_observer.OPTION):
        on_observer.select(config, items)


def pytest_collection_finish() -> None:
    """Exclude the collected tests and their modules from garbage collection, for ever.

    With all tests, a complete search for garbage takes 0.3 s of processor time without this. The
    tests of asyncio clients and of the server's sockets make more than 400 such searches.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def observed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, apache_jars: Path
) -> Iterator[on_observer.ObservedEnsemble]:
    """An Apache ensemble that has an observer in each test with ``--on-observer``."""
    directory = tmp_path_factory.mktemp("observed")
    members: int = request.config.getoption("--ensemble-members")
    with on_observer.observed_ensemble(directory, apache_jars, members) as running:
        yield running


@pytest.fixture
def hosts_in(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[ApacheEnsemble], str]]:
    """Return where clients of an ensemble connect: all members, or an observer."""
    with contextlib.ExitStack() as started:

        def hosts(ensemble: ApacheEnsemble) -> str:
            if not request.config.getoption(on_observer.OPTION):
                return ensemble.hosts
            observer = new_observer(tmp_path / "observer", ensemble, on_observer.MY_ID)
            return started.enter_context(observer).hosts

        yield hosts


@pytest.fixture(scope="session")
def reused_servers() -> Iterator[ReusedServers]:
    """The servers that tests use one after the other."""
    with contextlib.closing(ReusedServers()) as reused:
        yield reused


@pytest.fixture
def reuses_server() -> bool:
    """Whether ``server`` may be one that earlier tests have used; see the conftest of a folder."""
    return False


@pytest.fixture
def server(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    reused_servers: ReusedServers,
    reuses_server: bool,
) -> Iterator[ServerProcess]:
    """A running server with an empty tree; it must log no traceback."""
    if request.config.getoption(on_observer.OPTION):
        with request.getfixturevalue("observed").observer(tmp_path / "server") as observer:
            yield observer
        return

    def new() -> ServerProcess:
        return ServerProcess(request.getfixturevalue("tmp_path_factory").mktemp("server"))

    own = ServerProcess(tmp_path / "server") if not reuses_server else None
    with own or reused_servers.lend("server", new) as running:
        yield running
    assert "Traceback" not in running.log, running.log


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Any]:
    """A started kazoo client on ``server``."""
    started = KazooClient(hosts=server.hosts, timeout=4.0)
    started.start(timeout=10)
    yield started
    started.stop()
    started.close()


@pytest.fixture(params=["zoolet", "apache"])
def any_server(
    request: pytest.FixtureRequest, tmp_path: Path, reused_servers: ReusedServers
) -> Iterator[ExternalServer]:
    """A running zoolet, then a running Apache ZooKeeper, with everything that may be turned on.

    Their trees are empty; earlier tests may have used them. A test may stop or change them.
    """
    if request.config.getoption(on_observer.OPTION):
        with request.getfixturevalue("observed").observer(tmp_path / "server") as observer:
            yield observer
        return
    settings = {"extendedTypesEnabled": "true", "enforceQuota": "true"}

    def new() -> ExternalServer:
        directory = request.getfixturevalue("tmp_path_factory").mktemp("server")
        if request.param == "zoolet":
            return ServerProcess(directory, settings)
        return ApacheServer(directory, request.getfixturevalue("apache_jars"), settings)

    with reused_servers.lend(request.param, new) as running:
        yield running
