"""Apache ZooKeeper itself, under Java: what zoolet is compared with."""

import re
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from zoolet.testing import ServerProcess
from zoolet.testing.process import ADDRESS

DEBIAN_JARS = Path("/usr/share/java")


def require_apache(jars: Path) -> Path:
    """Return the folder of jars; skips the test where Apache ZooKeeper or Java is not there."""
    if shutil.which("java") is None or not any(jars.glob("zookeeper*.jar")):
        pytest.skip(
            f"no Apache ZooKeeper to compare with in {jars}: install Debian's libzookeeper-java and"
            " default-jre-headless (make test does so where it may), or name another folder with"
            " --apache-jars"
        )
    return jars


def release_of(jars: Path) -> tuple[int, ...]:
    """Return the release of the Apache ZooKeeper in a folder of jars, as (3, 9, 3)."""
    found = [re.fullmatch(r"zookeeper-([\d.]+)\.jar", jar.name) for jar in jars.iterdir()]
    return max(tuple(map(int, match[1].split("."))) for match in found if match)


class ApacheServer(ServerProcess):
    """A standalone Apache ZooKeeper in a process of its own, on a zoo.cfg as zoolet gets it."""

    def __init__(
        self,
        directory: Path,
        jars: Path,
        settings: Mapping[str, object] | None = None,
        java_options: Sequence[str] = ("-Xmx512m", "-XX:+UseSerialGC"),
    ) -> None:
        """Write the zoo.cfg; the folder of jars holds ZooKeeper's and those it needs."""
        super().__init__(directory, settings)
        self._jars = jars
        self._java_options = java_options

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
                    *self._java_options,
                    "-cp",
                    f"{self._jars}/*",
                    "org.apache.zookeeper.server.ZooKeeperServerMain",
                    str(self.config_path),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._serves, "Apache ZooKeeper's start")

    def _serves(self) -> bool:
        if self._running().poll() is not None:
            raise RuntimeError(f"Apache ZooKeeper did not start:\n{self.log}")
        # The port is open before the database is there: srvr says when it is, and what came too
        # early may never be answered.
        try:
            with socket.create_connection((ADDRESS, self.port), timeout=0.3) as connection:
                connection.sendall(b"srvr")
                return connection.recv(65536).startswith(b"Zookeeper version")
        except OSError:
            return False
