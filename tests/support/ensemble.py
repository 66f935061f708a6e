"""Three Apache ZooKeepers that are an ensemble, each a process on this machine."""

import contextlib
import re
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.waiting import wait_until
from zoolet.testing import ReservedPort
from zoolet.testing.servers import ADDRESS

_MEMBERS = 3
_TIMEOUT_S = 30.0


class ApacheEnsemble:
    """An ensemble whose members a test may kill and start again.

    Attributes:
        hosts: what a client connects to: all members.
    """

    def __init__(
        self,
        directory: Path,
        jars: Path,
        java_options: Sequence[str] = ("-Xmx384m", "-XX:+UseSerialGC"),
    ) -> None:
        self._directory = directory
        self._command = ["java", *java_options, "-cp", f"{jars}/*"]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._reserved = [ReservedPort() for _ in range(3 * _MEMBERS)]
        ports = [reserved.number for reserved in self._reserved]
        self._ports = dict(enumerate(ports[:_MEMBERS], 1))
        self.hosts = ",".join(f"{ADDRESS}:{port}" for port in self._ports.values())
        quorum, election = ports[_MEMBERS : 2 * _MEMBERS], ports[2 * _MEMBERS :]
        servers = "".join(
            f"server.{member}={ADDRESS}:{quorum[member - 1]}:{election[member - 1]}\n"
            for member in self._ports
        )
        for member, port in self._ports.items():
            home = directory / str(member)
            (home / "data").mkdir(parents=True)
            (home / "data" / "myid").write_text(f"{member}\n")
            (home / "zoo.cfg").write_text(
                f"tickTime=500\ninitLimit=20\nsyncLimit=10\ndataDir={home}/data\n"
                f"clientPort={port}\nclientPortAddress={ADDRESS}\nmaxClientCnxns=0\n"
                f"admin.enableServer=false\n4lw.commands.whitelist=srvr\n{servers}"
            )

    def start(self, member: int) -> None:
        """Start a member."""
        home = self._directory / str(member)
        with (home / "out.log").open("ab") as output:
            self._processes[member] = subprocess.Popen(
                [
                    *self._command,
                    "org.apache.zookeeper.server.quorum.QuorumPeerMain",
                    str(home / "zoo.cfg"),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def kill_leader(self) -> int:
        """End the leader by kill -9, and return which member it was."""
        wait_until(lambda: self._leader() is not None, "a leader")
        leader = self._leader()
        assert leader is not None
        self._kill(leader)
        return leader

    def wait_until_whole(self) -> None:
        """Return when all members serve."""
        wait_until(lambda: all(map(self._mode, self._ports)), "an ensemble that is whole")

    def _leader(self) -> int | None:
        return next((m for m in self._processes if self._mode(m) == "leader"), None)

    def _mode(self, member: int) -> str | None:
        """Return what a member is; None where it does not serve."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection((ADDRESS, self._ports[member]), timeout=1) as connection,
        ):
            connection.sendall(b"srvr")
            answer = b""
            while part := connection.recv(65536):
                answer += part
            found = re.search(rb"^Mode: (\w+)$", answer, re.MULTILINE)
            return found[1].decode() if found else None
        return None

    def _kill(self, member: int) -> None:
        process = self._processes.pop(member)
        process.kill()
        process.wait(_TIMEOUT_S)

    def __enter__(self) -> Self:
        for member in self._ports:
            self.start(member)
        self.wait_until_whole()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for member in list(self._processes):
            self._kill(member)
