"""A real server in a process of its own, on a free port of this machine."""

import contextlib
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from zoolet.server import control
from zoolet.server.config import Config, read_config

ADDRESS = "127.0.0.1"
_TIMEOUT_S = 30.0


def free_port() -> int:
    """Return a TCP port that nothing listens on at the moment.

    It lies below the ports that the system gives to outgoing connections, so that a client that
    tries to connect before its server listens can take it from the server by no accident.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((ADDRESS, port))
            return port


class ServerProcess:
    """A server that a test may stop, kill and start again; its data stays in its directory.

    As a context manager it is started, and killed at the end if it still runs.

    Attributes:
        directory: holds zoo.cfg, the data directory and the server's log.
        hosts: what a client connects to, ``127.0.0.1:PORT``.
        config_path: the server's zoo.cfg.
    """

    def __init__(self, directory: Path, settings: Mapping[str, object] | None = None) -> None:
        """Write the zoo.cfg; ``settings`` are added to it, and win over those it has."""
        self.directory = directory
        self.port = free_port()
        self.hosts = f"{ADDRESS}:{self.port}"
        self.config_path = directory / "zoo.cfg"
        self._process: subprocess.Popen[bytes] | None = None
        written = {
            "tickTime": 200,
            "dataDir": directory / "data",
            "clientPort": self.port,
            "clientPortAddress": ADDRESS,
            "maxClientCnxns": 0,
            "preAllocSize": 1024,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
            **(settings or {}),
        }
        directory.mkdir(parents=True, exist_ok=True)
        self.config_path.write_text("".join(f"{key}={value}\n" for key, value in written.items()))

    @property
    def config(self) -> Config:
        """The server's settings."""
        return read_config(self.config_path)

    @property
    def pid(self) -> int:
        """The number of the server's process."""
        return self._running().pid

    @property
    def log(self) -> str:
        """What the server has logged since the directory was made."""
        return (self.directory / "data" / control.OUTPUT_NAME).read_text()

    def start(self) -> None:
        """Start it, and return when its port answers."""
        self._process = control.start(self.config, self.config_path, _TIMEOUT_S)

    def stop(self) -> int:
        """Stop it cleanly, and return its exit status."""
        process = self._running()
        process.terminate()
        self._process = None
        return process.wait(_TIMEOUT_S)

    def kill(self) -> None:
        """End it as a power switch would: it gets no chance to do anything."""
        process = self._running()
        process.kill()
        process.wait(_TIMEOUT_S)
        self._process = None

    def wait(self) -> int:
        """Return its exit status once it has ended by itself."""
        status = self._running().wait(_TIMEOUT_S)
        self._process = None
        return status

    def restart(self) -> None:
        """Stop it cleanly and start it."""
        self.stop()
        self.start()

    def ask(self, word: str) -> str:
        """Return its answer to a four-letter word."""
        return control.ask(self.config, word)

    def run_command(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run ``zkServer.sh COMMAND`` on it."""
        return subprocess.run(
            [sys.executable, "-m", "zoolet", "server", command, str(self.config_path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError(f"the server in {self.directory} does not run")
        return self._process

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self.kill()
