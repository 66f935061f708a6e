"""The pytest plugin: a ZooKeeper of a test's own, and what was done to it where a test fails.

Owns the fixtures and the report. pytest loads it wherever zoolet is installed, so it loads nothing
of zoolet before a test asks for it.
"""

import hashlib
import re
import sys
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from zoolet.testing.recording.recording import Recorder
    from zoolet.testing.recording.replay import Replay
    from zoolet.testing.servers.embedded import EmbeddedServer

_Scope = Literal["session", "package", "module", "class", "function"]

_SCOPES = ("session", "package", "module", "class", "function")
_ENSEMBLE_SIZE = 3
_READABLE_CHARACTERS = 100
_HASH_CHARACTERS = 12


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the settings: how long what is in ZooKeeper lasts, and whether to record."""
    parser.getgroup("zookeeper").addoption(
        "--zookeeper-record",
        metavar="HOSTS",
        help="make the recordings of the zookeeper_recorded fixture again, on this ensemble",
    )
    parser.addini(
        "zookeeper_scope",
        f"how long what is in the zookeeper fixture's server lasts: {', '.join(_SCOPES)}",
        default="function",
    )


def _scope_of_zookeeper(fixture_name: str, config: pytest.Config) -> _Scope:
    wanted: _Scope = config.getini("zookeeper_scope")
    if wanted not in _SCOPES:
        raise pytest.UsageError(
            f"zookeeper_scope = {wanted}: the scope of the fixture {fixture_name} is one of"
            f" {', '.join(_SCOPES)}"
        )
    return wanted


@pytest.fixture(scope="session")
def zookeeper_settings() -> Mapping[str, object]:
    """What is set in the server's zoo.cfg; override it in a conftest.py."""
    return {}


@pytest.fixture(scope="session")
def _zookeeper_server(zookeeper_settings: Mapping[str, object]) -> Iterator["EmbeddedServer"]:
    """The server of this process, for all its tests."""
    from zoolet.testing.servers.embedded import EmbeddedServer  # noqa: PLC0415 -- loaded when it is wanted

    with EmbeddedServer(settings=zookeeper_settings) as server:
        yield server


@pytest.fixture(scope=_scope_of_zookeeper)
def zookeeper(_zookeeper_server: "EmbeddedServer") -> Iterator["EmbeddedServer"]:
    """A running ZooKeeper, in memory, wiped after each test (or what ``zookeeper_scope`` says)."""
    yield _zookeeper_server
    _zookeeper_server.wipe()


@pytest.fixture
def zookeeper_client(zookeeper: "EmbeddedServer") -> Iterator[Any]:
    """A started kazoo client of ``zookeeper``."""
    client = zookeeper.client()
    client.start()
    yield client
    # What the test left wrong must not keep the client from stopping.
    zookeeper.heal()
    client.stop()
    client.close()


@pytest.fixture
def zookeeper_ensemble_hosts(zookeeper: "EmbeddedServer") -> str:
    """Three addresses of ``zookeeper``, as of an ensemble; each can be stopped."""
    return zookeeper.open_addresses(_ENSEMBLE_SIZE)


@pytest.fixture
def zookeeper_recorded(request: pytest.FixtureRequest) -> Iterator["Recorder | Replay"]:
    """What stands in for an ensemble: a recording of the test, in ``recordings`` beside its file.

    With ``--zookeeper-record=HOSTS`` it is made again. The test connects to its ``hosts``.
    """
    from zoolet.testing.recording.recording import Recorder  # noqa: PLC0415 -- loaded when it is wanted
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
    """Return what no other test of a module has, whatever its class and its parameters are.

    A test's name stays as it is, if it is a file's name as it is. Otherwise a hash of it is added,
    for what was replaced may be all in which two tests differ.
    """
    if re.fullmatch(r"\w{1,100}", name, re.ASCII):
        return name
    readable = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)[:_READABLE_CHARACTERS]
    return f"{readable}.{hashlib.sha256(name.encode()).hexdigest()[:_HASH_CHARACTERS]}"


def _former_file_name(name: str) -> str:
    """Return what earlier releases called the recording of a test."""
    return re.sub(r"[^\w.-]+", "-", name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell what was injected and asked where a test has failed."""
    del item, call
    report = yield
    embedded = sys.modules.get("zoolet.testing.servers.embedded")
    if report.failed and embedded is not None:
        for server in embedded.LIVING:
            if text := server.report():
                report.sections.append((f"ZooKeeper at {server.hosts}", text))
    return report
