"""Apache ZooKeeper under Java, with which the tests compare zoolet.

This module finds Apache ZooKeeper, and starts it with the interface of the other servers for tests.
"""

import contextlib
import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoolet.testing.servers.base import ADDRESS
from zoolet.testing.servers.process import ExternalServer

DEBIAN_JARS = Path("/usr/share/java")

_ANSWER_TIMEOUT_S = 0.3

QUICK_START = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Java's options for a server of a test: the simple garbage collector, and only the quick compiler.
The start takes a quarter less processor time."""


def missing_for_apache(jars: Path) -> str | None:
    """Return why Apache ZooKeeper cannot start from a folder of jars; None if it can start."""
    if shutil.which("java") is not None and any(jars.glob("zookeeper*.jar")):
        return None
    return (
        f"no Apache ZooKeeper in {jars}, or no java to run it: install Debian's libzookeeper-java"
        " and default-jre-headless, or name another folder of jars"
    )


def release_of(jars: Path) -> tuple[int, ...]:
    """Return the release of the Apache ZooKeeper in a folder of jars, for example (3, 9, 3)."""
    found = [re.fullmatch(r"zookeeper-([\d.]+)\.jar", jar.name) for jar in jars.iterdir()]
    return max(tuple(map(int, match[1].split("."))) for match in found if match)


class ApacheServer(ExternalServer):
    """A standalone Apache ZooKeeper in a separate process, with the same zoo.cfg as zoolet."""

    def __init__(
        self,
        directory: Path,
        jars: Path = DEBIAN_JARS,
        settings: Mapping[str, object] | None = None,
        java_options: Sequence[str] = ("-Xmx512m", *QUICK_START),
    ) -> None:
        """Write the zoo.cfg; ``jars`` contains ZooKeeper's jar and the jars that it needs.

        Raises:
            RuntimeError: the jars or Java are missing.
        """
        if (missing := missing_for_apache(jars)) is not None:
            raise RuntimeError(missing)
        super().__init__(directory, settings)
        self._jars = jars
        self._java_options = java_options

    def _command(self) -> Sequence[str]:
        return [
            "java",
            *self._java_options,
            "-cp",
            f"{self._jars}/*",
            "org.apache.zookeeper.server.ZooKeeperServerMain",
            str(self.config_path),
        ]

    def _serves(self) -> bool:
        return self._srvr().startswith("Zookeeper version")

    def _srvr(self) -> str:
        """Return the server's answer to srvr; "" if the server does not answer in time.

        The server opens its port before it has loaded the database. It may never answer a
        four-letter word that comes too early.
        """
        with (
            contextlib.suppress(OSError),
            socket.create_connection((ADDRESS, self.port), _ANSWER_TIMEOUT_S) as connection,
        ):
            connection.sendall(b"srvr")
            answer = b""
            while part := connection.recv(65536):
                answer += part
            return answer.decode()
        return ""
