"""The pytest plugin: fixtures with a ZooKeeper server, and a report for failed tests.

pytest loads this plugin in every environment in which zoolet is installed. Therefore the plugin
imports other modules of zoolet only when a test uses a fixture.
"""

import hashlib
import re
import sys
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from zoolet.client import AsyncClient, Client
    from zoolet.jobs.testing.queue_tester import QueueTester
    from zoolet.testing.recording.recording import Recorder
    from zoolet.testing.recording.replay import Replay
    from zoolet.testing.servers.embedded import EmbeddedServer

_Scope = Literal["session", "package", "module", "class", "function"]

_SCOPES = ("session", "package", "module", "class", "function")
_ENSEMBLE_SIZE = 3
_READABLE_CHARACTERS = 100
_HASH_CHARACTERS = 12


def pytest_addoption(parser: pytest.Parser) -> None:
    """Define the options of the plugin: how long the server keeps its data, and recording."""
    parser.getgroup("zookeeper").addoption(
        "--zookeeper-record",
        metavar="HOSTS",
        help="make new recordings of this ensemble for the fixture zookeeper_recorded",
    )
    parser.addini(
        "zookeeper_scope",
        f"how long the zookeeper fixture keeps the server's data: {', '.join(_SCOPES)}",
        default="function",
    )


def _scope_of_zookeeper(fixture_name: str, config: pytest.Config) -> _Scope:
    wanted: _Scope = config.getini("zookeeper_scope")
    if wanted not in _SCOPES:
        raise pytest.UsageError(
            f"zookeeper_scope = {wanted}: the scope of the fixture {fixture_name} must be one of"
            f" {', '.join(_SCOPES)}"
        )
    return wanted


@pytest.fixture(scope="session")
def zookeeper_settings() -> Mapping[str, object]:
    """The settings of the server (keys of zoo.cfg); override this fixture in a conftest.py."""
    return {}


@pytest.fixture(scope="session")
def _zookeeper_server(zookeeper_settings: Mapping[str, object]) -> Iterator["EmbeddedServer"]:
    """The server for all tests of this process."""
    from zoolet.testing.servers.embedded import EmbeddedServer  # noqa: PLC0415 -- imported when used

    with EmbeddedServer(settings=zookeeper_settings) as server:
        yield server


@pytest.fixture(scope=_scope_of_zookeeper)
def zookeeper(_zookeeper_server: "EmbeddedServer") -> Iterator["EmbeddedServer"]:
    """A running server with its data in memory.

    Its data is deleted after each test. With the ini option ``zookeeper_scope``, its data is kept
    for longer, for example for all tests of a module.
    """
    yield _zookeeper_server
    _zookeeper_server.wipe()


@pytest.fixture
def zookeeper_client(zookeeper: "EmbeddedServer") -> Iterator[Any]:
    """A started kazoo client of ``zookeeper``."""
    client = zookeeper.client()
    client.start()
    yield client
    # Faults that the test did not end must not prevent the client from stopping.
    zookeeper.heal()
    client.stop()
    client.close()


@pytest.fixture
def zookeeper_thread_client(zookeeper: "EmbeddedServer") -> Iterator["Client"]:
    """A started `zoolet.client.Client` of ``zookeeper``."""
    with zookeeper.thread_client() as client:
        yield client
        # Faults that the test did not end must not prevent the client from closing.
        zookeeper.heal()


@pytest.fixture
def zookeeper_async_client(zookeeper: "EmbeddedServer") -> "AsyncClient":
    """A `zoolet.client.AsyncClient` of ``zookeeper``; the test starts it with ``async with``."""
    return zookeeper.async_client()


@pytest.fixture
def zookeeper_ensemble_hosts(zookeeper: "EmbeddedServer") -> str:
    """Three addresses of the one server ``zookeeper``, as if it were an ensemble.

    A test can stop each address: ``zookeeper.addresses[0].stop()``.
    """
    return zookeeper.open_addresses(_ENSEMBLE_SIZE)


@pytest.fixture
def zookeeper_jobs(zookeeper: "EmbeddedServer") -> Iterator["QueueTester"]:
    """An empty queue of jobs on ``zookeeper``; the test runs its jobs in its own thread."""
    from zoolet.jobs.testing.queue_tester import QueueTester  # noqa: PLC0415 -- imported when used

    with QueueTester(zookeeper) as tester:
        yield tester
        # Faults that the test did not end must not prevent the dispatcher from closing.
        zookeeper.heal()


@pytest.fixture
def zookeeper_recorded(request: pytest.FixtureRequest) -> Iterator["Recorder | Replay"]:
    """Replays an ensemble's recorded replies, so that the test needs no ensemble.

    The recording is a file in the directory ``recordings`` next to the test's file. With
    ``--zookeeper-record=HOSTS`` the fixture makes a new recording of the ensemble HOSTS. In both
    cases, the test connects to the fixture's ``hosts``.
    """
    from zoolet.testing.recording.recording import Recorder  # noqa: PLC0415 -- imported when used
    from zoolet.testing.recording.replay import Replay  # noqa: PLC0415 -- likewise

    name = request.node.nodeid.partition("::")[2]
    directory, module = request.path.parent / "recordings", request.path.stem
    path = directory / f"{module}.{_file_name(name)}.jsonl"
    hosts = request.config.getoption("--zookeeper-record")
    if hosts is None and not path.exists():
        former = directory / f"{module}.{_former_file_name(request.node.name)}.jsonl"
        path = former if former.exists() else path
    with Replay(path) if hosts is None else Recorder(hosts, path) as stand_in:
        yield stand_in


def _file_name(name: str) -> str:
    """Return a file name that no other test of the module has.

    A name of letters, digits and underscores stays the same. In other names, some characters are
    replaced, so two names could become equal. Therefore a hash of the full name is added.
    """
    if re.fullmatch(r"\w{1,100}", name, re.ASCII):
        return name
    readable = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)[:_READABLE_CHARACTERS]
    return f"{readable}.{hashlib.sha256(name.encode()).hexdigest()[:_HASH_CHARACTERS]}"


def _former_file_name(name: str) -> str:
    """Return the file name that earlier releases used for the recording of a test."""
    return re.sub(r"[^\w.-]+", "-", name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the injected faults and the last requests to the report of a failed test."""
    del item, call
    report = yield
    embedded = sys.modules.get("zoolet.testing.servers.embedded")
    if report.failed and embedded is not None:
        for server in embedded.LIVING:
            if text := server.report():
                report.sections.append((f"ZooKeeper at {server.hosts}", text))
    return report
