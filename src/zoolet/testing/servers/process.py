"""Servers in separate processes, which a test can kill.

This module starts, watches and ends these processes, and creates the files that they need. It must
not import pytest.
"""

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from zoolet.server.zoo_cfg.config import Config
from zoolet.server.zoo_cfg.reading import read_config
from zoolet.testing.servers.base import ADDRESS, IN_MEMORY, ManagedServer, write_settings
from zoolet.testing.servers.guard import guarded_environment

_TIMEOUT_S = 30.0
_CHECK_S = 0.01
_SECURE_PORT = "secureClientPort"


class ExternalServer(ManagedServer):
    """The common base class of zoolet's and Apache ZooKeeper's server processes.

    Attributes:
        directory: the directory with zoo.cfg, the data directory and the server's log.
        config_path: the path of the server's zoo.cfg.
    """

    _start_timeout_s: ClassVar[float] = _TIMEOUT_S

    def __init__(self, directory: Path, settings: Mapping[str, object] | None) -> None:
        super().__init__()
        self.directory = directory
        self.config_path = directory / "zoo.cfg"
        self._process: subprocess.Popen[bytes] | None = None
        wanted = settings or {}
        self._secure_listener = (
            (str(wanted.get("secureClientPortAddress", ADDRESS)), int(str(wanted[_SECURE_PORT])))
            if _SECURE_PORT in wanted
            else None
        )
        directory.mkdir(parents=True, exist_ok=True)
        text = write_settings(directory / "data", self.port, settings)
        self.config_path.write_text(text, encoding="utf-8")

    @property
    def config(self) -> Config:
        """The server's settings."""
        return read_config(self.config_path)

    @property
    def is_running(self) -> bool:
        """Whether the server's process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._running().pid

    @property
    def log(self) -> str:
        """The server's log, since the directory was created."""
        return (self.directory / "server.log").read_text(encoding="utf-8", errors="replace")

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Return the command that starts the server in the foreground."""

    @abstractmethod
    def _serves(self) -> bool:
        """Return whether the server accepts clients."""

    def _serves_all(self) -> bool:
        """Return whether the server accepts clients on all its ports."""
        secure = self._secure_listener
        return self._serves() and (secure is None or _accepts(*secure))

    def start(self) -> None:
        """Start the server, and return when it accepts clients.

        On Linux the server does not outlive this process, even if this process is killed.

        Raises:
            RuntimeError: the server ended while it started; the message has the server's log.
            TimeoutError: the server does not accept clients; the message has the server's log.
        """
        if self.is_running:
            return
        with (self.directory / "server.log").open("ab") as output:
            process = self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=guarded_environment(),
                start_new_session=True,
            )
        deadline = time.monotonic() + self._start_timeout_s
        while not self._serves_all():
            if process.poll() is not None:
                raise RuntimeError(f"the server did not start; its log says:\n{self.log}")
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"the server does not serve; its log says:\n{self.log}")
            time.sleep(_CHECK_S)

    def stop(self) -> int:
        """Stop the server cleanly, and return its exit status."""
        process = self._running()
        process.terminate()
        return self.wait()

    def kill(self) -> None:
        """End the server with SIGKILL."""
        self._running().kill()
        self.wait()

    def wait(self) -> int:
        """Wait until the server has ended, and return its exit status."""
        status = self._running().wait(_TIMEOUT_S)
        self._process = None
        return status

    def pause(self) -> None:
        """Stop the process with SIGSTOP."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue the process after ``pause``."""
        self._running().send_signal(signal.SIGCONT)

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError(f"the server in {self.directory} does not run: start it first")
        return self._process


class ServerProcess(ExternalServer):
    """A zoolet server in a separate process.

    Without a directory, the data are in the memory of the process, and are lost when it ends.
    """

    def __init__(
        self, directory: Path | None = None, settings: Mapping[str, object] | None = None
    ) -> None:
        """Write the zoo.cfg; ``settings`` are added to its defaults and override them."""
        self._is_in_memory = directory is None
        if directory is None:
            directory = Path(tempfile.mkdtemp(prefix="zoolet-"))
            weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
            settings = {**IN_MEMORY, **(settings or {})}
        super().__init__(directory, settings)

    def _command(self) -> Sequence[str]:
        if self._is_in_memory:
            return [sys.executable, "-m", "zoolet.testing.servers.memory", str(self.config_path)]
        return self._server_command("start-foreground")

    def _serves(self) -> bool:
        return _accepts(ADDRESS, self.port)

    def run_command(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run ``zkServer.sh COMMAND`` with the server's zoo.cfg."""
        return subprocess.run(
            self._server_command(command),
            capture_output=True,
            env=guarded_environment(),
            text=True,
            timeout=60,
            check=False,
        )

    def _server_command(self, command: str) -> list[str]:
        return [sys.executable, "-m", "zoolet", "server", command, str(self.config_path)]


def _accepts(address: str, port: int) -> bool:
    """Return whether a server accepts connections at this address."""
    try:
        socket.create_connection((address, port), _TIMEOUT_S).close()
    except OSError:
        return False
    return True
