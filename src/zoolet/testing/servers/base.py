"""What all servers of tests have in common: a port of their own, and a life that a test decides.

Owns ports and settings. Must not import a server: those that import this are of three kinds, in
this process (``embedded``), in a process of their own (``process``), and Apache's (``apache``).
"""

import os
import socket
import sys
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from zoolet.server.zoo_cfg.properties import format_property

if TYPE_CHECKING:
    from pathlib import Path

    from zoolet.server.zoo_cfg.config import Config

ADDRESS = "127.0.0.1"

IN_MEMORY = {"preAllocSize": 0, "snapCount": (1 << 31) - 1}
"""What else is set where data are in memory: there is no end to shorten, and none to come soon."""


class ReservedPort:
    """A TCP port of this machine that nobody else gets as long as this object lives.

    A socket is bound to it and does not listen: until a server does, connecting is refused. A
    server may take it, and take it again, since it binds with SO_REUSEADDR as this does; the system
    gives it to nothing else, not even to an outgoing connection. Systems other than Linux would not
    let a server take it: there it is only looked for.

    Attributes:
        number: the port.
    """

    def __init__(self) -> None:
        with socket.socket() as reserving:
            reserving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserving.bind((ADDRESS, 0))
            self.number: int = reserving.getsockname()[1]
            self.release = weakref.finalize(self, os.close, reserving.detach())
        if sys.platform != "linux":
            self.release()

    @property
    def address(self) -> str:
        """What a client connects to."""
        return f"{ADDRESS}:{self.number}"


def write_settings(data_dir: "Path", port: int, settings: Mapping[str, object] | None) -> str:
    """Return the text of a zoo.cfg for a test; ``settings`` win over what it has by itself."""
    written = {
        "tickTime": 200,
        "dataDir": data_dir,
        "clientPort": port,
        "clientPortAddress": ADDRESS,
        "maxClientCnxns": 0,
        "preAllocSize": 1024,
        "admin.enableServer": "false",
        "4lw.commands.whitelist": "*",
        **(settings or {}),
    }
    return "".join(format_property(key, str(value)) for key, value in written.items())


class ManagedServer(ABC):
    """A server that a test starts, stops, kills and starts again, always on the same port.

    As a context manager it is started, and killed at the end if it still runs.

    Attributes:
        port: the TCP port for clients.
        hosts: what a client connects to, ``127.0.0.1:PORT``.
    """

    def __init__(self) -> None:
        self._reserved_port = ReservedPort()
        self.port = self._reserved_port.number
        self.hosts = self._reserved_port.address

    @property
    @abstractmethod
    def config(self) -> "Config":
        """The server's settings."""

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether it was started and has not ended since."""

    @abstractmethod
    def start(self) -> None:
        """Start it, if it does not run, and return when it serves."""

    @abstractmethod
    def stop(self) -> int:
        """Stop it cleanly, and return its exit status."""

    @abstractmethod
    def kill(self) -> None:
        """End it as a power switch would: it gets no chance to do anything."""

    @abstractmethod
    def pause(self) -> None:
        """Let it stand still: connections are not closed, and nothing is answered."""

    @abstractmethod
    def resume(self) -> None:
        """Let it go on after ``pause``."""

    def restart(self) -> None:
        """Stop it cleanly and start it."""
        self.stop()
        self.start()

    def ask(self, word: str) -> str:
        """Return its answer to a four-letter word."""
        from zoolet.server.cli import control  # noqa: PLC0415 -- loads the server

        return control.ask(self.config, word)

    def client(self, **options: Any) -> Any:
        """Return a kazoo client of this server, not started; ``options`` are KazooClient's.

        It comes back within a moment after it has lost its connection.
        """
        from kazoo.client import KazooClient  # noqa: PLC0415 -- not every test wants it

        quick = {"max_tries": -1, "delay": 0.005, "max_delay": 0.1}
        return KazooClient(**{"hosts": self.hosts, "connection_retry": quick, **options})

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.is_running:
            self.kill()
