"""Apache ZooKeeper itself, under Java: what zoolet is compared with."""

import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.waiting import wait_until
from zoolet.testing.process import ADDRESS, free_port

DEBIAN_JARS = Path("/usr/share/java")

_STOP_TIMEOUT_S = 20.0


def require_apache(jars: Path) -> Path:
    """Return the folder of jars; skips the test where Apache ZooKeeper or Java is not there."""
    if shutil.which("java") is None or not any(jars.glob("zookeeper*.jar")):
        pytest.skip(
            f"no Apache ZooKeeper to compare with in {jars}: install Debian's zookeeper package"
            " (make test does so where it may), or name another folder with --apache-jars"
        )
    return jars


class ApacheServer:
    """A standalone Apache ZooKeeper in a process of its own; its data stays in its directory.

    As a context manager it is started, and killed at the end if it still runs.
    """

    def __init__(
        self, directory: Path, jars: Path, settings: Mapping[str, object] | None = None
    ) -> None:
        """Write the zoo.cfg; ``settings`` are added to it, and win over those it has."""
        self.directory = directory
        self.port = free_port()
        self.hosts = f"{ADDRESS}:{self.port}"
        self.config_path = directory / "zoo.cfg"
        self._jars = jars
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
    def log(self) -> str:
        """What the server has printed."""
        return (self.directory / "out.log").read_text(errors="replace")

    def start(self) -> None:
        """Start it, and return when it serves."""
        with (self.directory / "out.log").open("ab") as output:
            self._process = subprocess.Popen(
                [
                    "java",
                    "-Xmx512m",
                    "-XX:+UseSerialGC",
                    "-cp",
                    f"{self._jars}/*",
                    "org.apache.zookeeper.server.ZooKeeperServerMain",
                    str(self.config_path),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._serves, "Apache ZooKeeper's start")

    def ask(self, word: str, timeout_s: float = 10.0) -> str:
        """Return its answer to a four-letter word."""
        with socket.create_connection((ADDRESS, self.port), timeout=timeout_s) as connection:
            connection.sendall(word.encode())
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        return b"".join(parts).decode()

    def stop(self) -> None:
        """Stop it cleanly."""
        process = self._running()
        process.terminate()
        process.wait(_STOP_TIMEOUT_S)
        self._process = None

    def kill(self) -> None:
        """End it as a power switch would."""
        process = self._running()
        process.kill()
        process.wait(_STOP_TIMEOUT_S)
        self._process = None

    def _serves(self) -> bool:
        if self._running().poll() is not None:
            raise RuntimeError(f"Apache ZooKeeper did not start:\n{self.log}")
        try:
            # The port is open before the database is there: srvr says when it is, and what came
            # too early may never be answered.
            return self.ask("srvr", timeout_s=0.3).startswith("Zookeeper version")
        except OSError:
            return False

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
