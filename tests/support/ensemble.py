"""An ensemble of Apache ZooKeepers, each a process on this machine, and its observers."""

import re
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.waiting import WAIT_S, wait_until
from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.apache import QUICK_START
from zoolet.testing.servers.base import ADDRESS, ReservedPort
from zoolet.testing.servers.process import ExternalServer

_MEMBERS = 3
_LIMITS = {"tickTime": 500, "initLimit": 20, "syncLimit": 10}
_OPTION = re.compile(r"-D[\w.]+=\w+")


class Member(ApacheServer):
    """A member or an observer; it serves only when most members have been started."""

    @property
    def mode(self) -> str | None:
        """What the member is; None where it does not serve."""
        found = re.search(r"^Mode: (\w+)$", self._srvr(), re.MULTILINE)
        return found[1] if found else None

    @property
    def zxid(self) -> str:
        """The line of its last zxid; "" where it does not serve."""
        found = re.search(r"^Zxid: .*$", self._srvr(), re.MULTILINE)
        return found[0] if found else ""

    def ask(self, word: str) -> str:
        """Return the answer to a four-letter word; its zoo.cfg may have keys of Apache only."""
        with socket.create_connection((ADDRESS, self.port), WAIT_S) as connection:
            connection.sendall(word.encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def _command(self) -> Sequence[str]:
        *java, _, config = super()._command()
        return [*java, "org.apache.zookeeper.server.quorum.QuorumPeerMain", config]

    def _serves(self) -> bool:
        return self.mode is not None


class _NewMember(Member):
    """A member or an observer with its own configuration and an empty data directory."""

    def __init__(
        self,
        directory: Path,
        jars: Path,
        number: int,
        settings: Mapping[str, object],
        java_options: Sequence[str],
    ) -> None:
        super().__init__(directory, jars, {**_LIMITS, **settings}, java_options=java_options)
        _write_id(directory, number)


def options_of_java(heap_mib: int) -> tuple[str, ...]:
    """Return the options of a Java machine that may use ``heap_mib`` MiB for its objects."""
    return (f"-Xmx{heap_mib}m", *QUICK_START)


class CreatedMember(Member):
    """A member whose directory ``zoolet ensemble create`` makes after this object exists.

    Attributes:
        written: the member as ``create`` takes it; its ports are reserved.
    """

    def __init__(self, scratch: Path, jars: Path, number: int, heap_mib: int = 128) -> None:
        """Reserve the ports; ``scratch`` is a directory for the member's log."""
        super().__init__(scratch, jars, java_options=options_of_java(heap_mib))
        self._member_ports = (ReservedPort(), ReservedPort())
        quorum, election = (port.number for port in self._member_ports)
        client = f"{ADDRESS}:{self.port}"
        self.written = f"{number}={ADDRESS}:{quorum}:{election};{client}"

    def use(self, home: Path) -> None:
        """Use the directory that was created, with the options in its ``java.env``."""
        self.config_path = home / "zoo.cfg"
        java_env = home / "java.env"
        if java_env.exists():
            self._java_options = (*self._java_options, *_OPTION.findall(java_env.read_text()))


class ApacheEnsemble:
    """An ensemble whose members a test may kill and start again.

    Attributes:
        hosts: what a client connects to: all members.
        members: its servers.
        servers: the lines ``server.N`` of their zoo.cfg.
        jars: the folder of jars of its servers.
    """

    def __init__(
        self,
        directory: Path,
        jars: Path,
        heap_mib: int = 384,
        settings: Mapping[str, object] | None = None,
        java_options: Sequence[str] = (),
        count: int = _MEMBERS,
    ) -> None:
        """Write the configurations; each member may use ``heap_mib`` MiB for its objects.

        ``settings`` are added to the zoo.cfg of each member, ``java_options`` to its command.
        ``count`` is the number of members. One member is an ensemble too: it has observers.
        """
        self.jars = jars
        self._ports = [(ReservedPort(), ReservedPort()) for _ in range(count)]
        self.servers = {
            f"server.{number}": f"{ADDRESS}:{quorum.number}:{election.number}"
            for number, (quorum, election) in enumerate(self._ports, 1)
        }
        written = {"standaloneEnabled": "false", **self.servers, **(settings or {})}
        options = (*options_of_java(heap_mib), *java_options)
        self.members: Sequence[Member] = [
            _NewMember(directory / str(number), jars, number, written, options)
            for number in range(1, count + 1)
        ]
        self.hosts = ",".join(member.hosts for member in self.members)

    @classmethod
    def of(cls, members: Sequence[Member]) -> Self:
        """Return an ensemble of members that exist already."""
        ensemble = cls.__new__(cls)
        ensemble.members = members
        ensemble.servers = {}
        ensemble.hosts = ",".join(member.hosts for member in members)
        return ensemble

    def leader(self) -> Member:
        """Return the leader, once there is one."""
        found: list[Member] = []

        def look() -> bool:
            running = (member for member in self.members if member.is_running)
            found.extend(member for member in running if member.mode == "leader")
            return bool(found)

        wait_until(look, "a leader")
        return found[0]

    def __enter__(self) -> Self:
        with ThreadPoolExecutor(len(self.members)) as pool:
            list(pool.map(lambda member: member.start(), self.members))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for member in self.members:
            if member.is_running:
                member.kill()


def new_observer(
    directory: Path,
    ensemble: ApacheEnsemble,
    my_id: int,
    settings: Mapping[str, object] | None = None,
) -> ServerProcess:
    """Return an observer of zoolet for an ensemble, not started."""
    base = {"peerType": "observer", **_LIMITS}
    observer = ServerProcess(directory, {**base, **ensemble.servers, **(settings or {})})
    _write_id(directory, my_id)
    return observer


def new_apache_observer(
    directory: Path,
    ensemble: ApacheEnsemble,
    my_id: int,
    settings: Mapping[str, object] | None = None,
    java_options: Sequence[str] = options_of_java(512),
) -> ExternalServer:
    """Return Apache's observer in the same place, not started.

    It needs a line ``server.N`` of its own. The members need this line only with reconfigEnabled.
    """
    own_line = line_of_observer(directory, my_id)
    base = {"peerType": "observer", "standaloneEnabled": "false", **ensemble.servers, **own_line}
    written = {**base, **(settings or {})}
    return _NewMember(directory, ensemble.jars, my_id, written, java_options)


_reserved: dict[Path, tuple[ReservedPort, ReservedPort]] = {}
"""The ports of Apache's observers, by their directories: no other server gets them."""


def line_of_observer(directory: Path, my_id: int) -> dict[str, str]:
    """Return the line ``server.N`` of Apache's observer in a directory, also before it exists."""
    quorum, election = _reserved.setdefault(directory, (ReservedPort(), ReservedPort()))
    return {f"server.{my_id}": f"{ADDRESS}:{quorum.number}:{election.number}:observer"}


def _write_id(directory: Path, number: int) -> None:
    (directory / "data").mkdir(parents=True, exist_ok=True)
    (directory / "data" / "myid").write_text(f"{number}\n")
