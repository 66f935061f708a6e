"""A service manager of a test: a datagram socket on which a server reports its state."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import WAIT_S
from zoolet.testing.servers.guard import guarded_environment

_MOST_BYTES = 4096


class ServiceManager:
    """Listens at an address and receives the reports of one server.

    Attributes:
        variable: the address as ``NOTIFY_SOCKET`` has it.
    """

    def __init__(self, directory: Path, *, is_abstract: bool = False) -> None:
        name = str(directory / "notify")
        self.variable = f"@{name}" if is_abstract else name
        self._address = f"\0{name}" if is_abstract else name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._address)

    def receive(self, timeout_s: float = WAIT_S) -> dict[str, str]:
        """Return the next report; raises TimeoutError."""
        self._socket.settimeout(timeout_s)
        report = self._socket.recv(_MOST_BYTES).decode()
        return dict(line.split("=", 1) for line in report.split("\n"))

    def fill(self) -> int:
        """Send reports to itself until the queue is full; return their number."""
        count = 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.setblocking(False)
            try:
                while True:
                    sending.sendto(b"FILLING=1", self._address)
                    count += 1
            except BlockingIOError:
                return count

    def mark(self) -> None:
        """Send a report to itself: a report that is received before it was sent before."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.sendto(b"MARK=1", self._address)

    def close(self) -> None:
        self._socket.close()


@contextmanager
def serving(
    config: Path, *, notify: str, watchdog_us: int | None = None, program: Sequence[str] = ()
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a server in the foreground as systemd does; it is killed at the end if it still runs.

    The log of the server is ``server.log`` beside zoo.cfg. ``program`` replaces ``-m zoolet``.
    """
    exports = f"export NOTIFY_SOCKET={notify!r}"
    if watchdog_us is not None:
        exports += f" WATCHDOG_USEC={watchdog_us} WATCHDOG_PID=$$"
    command = [sys.executable, *(program or ["-m", "zoolet"]), "server", "start-foreground"]
    with (config.parent / "server.log").open("ab") as output:
        process = subprocess.Popen(
            ["sh", "-c", f'{exports}; exec "$0" "$@"', *command, str(config)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=guarded_environment(),
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(WAIT_S)


def log_of(config: Path) -> str:
    """Return the log of a server that ``serving`` started."""
    return (config.parent / "server.log").read_text(errors="replace")


def environment_of(pid: int) -> set[str]:
    """Return the names of the environment variables with which a process was started."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return {os.fsdecode(entry).partition("=")[0] for entry in entries if entry}
