"""A PostgreSQL server of a test's own: Debian's, on a free port of this machine."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.skips import needs
from zoolet.testing.servers.base import ADDRESS, ReservedPort

_TIMEOUT_S = 60
_USER = "postgres"


def find_programs() -> Path:
    """Return the folder of PostgreSQL's programs; skips the test where they are not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not found:
        pytest.skip(needs("PostgreSQL", "postgresql"))
    return found[-1].parent


class PostgresqlServer:
    """A server that a test may stop and start again; its data stays.

    PostgreSQL refuses to run as root, so there it runs as the user that Debian's package made.

    Attributes:
        url: what SQLAlchemy connects to.
    """

    def __init__(self) -> None:
        self._programs = find_programs()
        self._home = Path(tempfile.mkdtemp(prefix="zoolet-postgresql-"))
        self._user = _USER if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(self._home, _USER)
        self._reserved = ReservedPort()
        self._port = self._reserved.number
        self.url = f"postgresql+psycopg://{self._user}@{ADDRESS}:{self._port}/postgres"
        data = str(self._home / "data")
        self._run("initdb", "-D", data, "--auth=trust", "--no-sync", "--encoding=UTF8")

    def start(self) -> None:
        """Start it, and return when it answers."""
        options = f"-p {self._port} -c listen_addresses={ADDRESS} -k {self._home}"
        log = str(self._home / "log")
        self._control("start", "-o", options, "-l", log)

    def stop(self) -> None:
        """Stop it at once, as a crash does."""
        self._control("stop", "-m", "immediate")

    def _control(self, command: str, *arguments: str) -> None:
        data = str(self._home / "data")
        self._run("pg_ctl", command, "-w", "-t", str(_TIMEOUT_S), "-D", data, *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=2 * _TIMEOUT_S,
            user=self._user if os.geteuid() == 0 else None,
            cwd=self._home,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        shutil.rmtree(self._home)
