"""Three Apache ZooKeepers that are an ensemble, each a process on this machine."""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.waiting import wait_until
from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.base import ADDRESS, ReservedPort

_MEMBERS = 3
_OPTION = re.compile(r"-D[\w.]+=\w+")


class Member(ApacheServer):
    """A member; it serves only when most members have been started."""

    @property
    def mode(self) -> str | None:
        """What the member is; None where it does not serve."""
        found = re.search(r"^Mode: (\w+)$", self._srvr(), re.MULTILINE)
        return found[1] if found else None

    def _command(self) -> Sequence[str]:
        *java, _, config = super()._command()
        return [*java, "org.apache.zookeeper.server.quorum.QuorumPeerMain", config]

    def _serves(self) -> bool:
        return self.mode is not None


class _NewMember(Member):
    """A member with its own configuration and an empty data directory."""

    def __init__(
        self,
        directory: Path,
        jars: Path,
        number: int,
        settings: Mapping[str, object],
        java_options: Sequence[str],
    ) -> None:
        limits = {"tickTime": 500, "initLimit": 20, "syncLimit": 10}
        super().__init__(directory, jars, {**limits, **settings}, java_options=java_options)
        (directory / "data").mkdir(parents=True)
        (directory / "data" / "myid").write_text(f"{number}\n")


def options_of_java(heap_mib: int) -> tuple[str, ...]:
    """Return the options of a Java machine that may use ``heap_mib`` MiB for its objects."""
    return (f"-Xmx{heap_mib}m", "-XX:+UseSerialGC")


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
    """

    def __init__(
        self,
        directory: Path,
        jars: Path,
        heap_mib: int = 384,
        settings: Mapping[str, object] | None = None,
        java_options: Sequence[str] = (),
    ) -> None:
        """Write the configurations; each member may use ``heap_mib`` MiB for its objects.

        ``settings`` are added to the zoo.cfg of each member, ``java_options`` to its command.
        """
        self._ports = [(ReservedPort(), ReservedPort()) for _ in range(_MEMBERS)]
        self.servers = {
            f"server.{number}": f"{ADDRESS}:{quorum.number}:{election.number}"
            for number, (quorum, election) in enumerate(self._ports, 1)
        }
        written = {**self.servers, **(settings or {})}
        options = (*options_of_java(heap_mib), *java_options)
        self.members: Sequence[Member] = [
            _NewMember(directory / str(number), jars, number, written, options)
            for number in range(1, _MEMBERS + 1)
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

    def leader(self) -> ApacheServer:
        """Return the leader, once there is one."""
        found: list[ApacheServer] = []

        def look() -> bool:
            running = (member for member in self.members if member.is_running)
            found.extend(member for member in running if member.mode == "leader")
            return bool(found)

        wait_until(look, "a leader")
        return found[0]

    def __enter__(self) -> Self:
        with ThreadPoolExecutor(_MEMBERS) as pool:
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
    base = {"peerType": "observer", "initLimit": 20, "syncLimit": 10, "tickTime": 500}
    observer = ServerProcess(directory, {**base, **ensemble.servers, **(settings or {})})
    (directory / "data").mkdir(exist_ok=True)
    (directory / "data" / "myid").write_text(f"{my_id}\n")
    return observer
