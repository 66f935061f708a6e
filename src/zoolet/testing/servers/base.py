"""The common interface of the servers for tests, their ports and their settings.

There are three kinds of servers: in this process (``embedded``), in a separate process
(``process``), and Apache ZooKeeper (``apache``). Their modules import this module, and this module
must not import them.
"""

import socket
import sys
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.connecting.options import ClientOptions
from zoolet.client.thread_client.client import Client
from zoolet.console.os_errors import needs_posix
from zoolet.server.zoo_cfg.properties import format_property

if TYPE_CHECKING:
    from pathlib import Path

    from zoolet.server.zoo_cfg.config import Config

ADDRESS = "127.0.0.1"

IN_MEMORY = {"preAllocSize": 0, "snapCount": (1 << 31) - 1}
"""Additional settings for data in memory: no preallocation, and practically no snapshots."""


class ReservedPort:
    """A TCP port of this machine that no other program gets while this object exists.

    The object binds a socket to the port and does not listen on it. Connections are refused until
    a server listens on the port. A server can bind to the port repeatedly, because the server and
    this object use SO_REUSEADDR. The system gives the port to no other program, and not to an
    outgoing connection. Systems other than Linux would refuse the port to the server. On these
    systems the object only finds a free port and does not keep it.

    Attributes:
        number: the number of the port.
    """

    def __init__(self) -> None:
        with socket.socket() as reserving:
            reserving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserving.bind((ADDRESS, 0))
            self.number: int = reserving.getsockname()[1]
            # Not os.close: on Windows a socket is not a file descriptor.
            self.release = weakref.finalize(self, socket.close, reserving.detach())
        if sys.platform != "linux":
            self.release()

    @property
    def address(self) -> str:
        """The address to which a client connects."""
        return f"{ADDRESS}:{self.number}"


def write_settings(data_dir: "Path", port: int, settings: Mapping[str, object] | None) -> str:
    """Return the text of a zoo.cfg for a test; ``settings`` override the defaults."""
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

    As a context manager, it starts the server, and at the end kills the server if it still runs.

    Attributes:
        port: the TCP port for clients.
        hosts: the address to which a client connects, ``127.0.0.1:PORT``.

    Raises:
        RuntimeError: this system does not support the server.
    """

    def __init__(self) -> None:
        if sys.platform == "win32":
            raise RuntimeError(needs_posix("a server for tests"))
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
        """Whether the server was started and has not ended."""

    @abstractmethod
    def start(self) -> None:
        """Start the server, if it does not run; return when it accepts clients."""

    @abstractmethod
    def stop(self) -> int:
        """Stop the server cleanly, and return its exit status."""

    @abstractmethod
    def kill(self) -> None:
        """End the server immediately, like a power failure, without a clean stop."""

    @abstractmethod
    def pause(self) -> None:
        """Pause the server: it sends no replies, but its connections stay open."""

    @abstractmethod
    def resume(self) -> None:
        """Continue after ``pause``."""

    def restart(self) -> None:
        """Stop the server cleanly and start it again."""
        self.stop()
        self.start()

    def ask(self, word: str) -> str:
        """Return the server's answer to a four-letter word."""
        from zoolet.server.cli import control  # noqa: PLC0415 -- imports the server

        return control.ask(self.config, word)

    def client(self, **options: Any) -> Any:
        """Return a kazoo client of this server, not started; ``options`` are KazooClient's.

        The client reconnects within milliseconds after it has lost its connection.
        """
        from kazoo.client import KazooClient  # noqa: PLC0415 -- imported when used

        quick = {"max_tries": -1, "delay": 0.005, "max_delay": 0.1}
        return KazooClient(**{"hosts": self.hosts, "connection_retry": quick, **options})

    def thread_client(self, options: ClientOptions | None = None) -> Client:
        """Return a `zoolet.client.Client` of this server, not started."""
        return Client(self.hosts, options)

    def async_client(self, options: ClientOptions | None = None) -> AsyncClient:
        """Return a `zoolet.client.AsyncClient` of this server, not started."""
        return AsyncClient(self.hosts, options)

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
