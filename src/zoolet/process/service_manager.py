"""A program's reports to the service manager that started it, for example systemd.

The service manager listens on a datagram socket, whose address is in ``NOTIFY_SOCKET``. A report
has lines of the form ``KEY=value``. Source: systemd's pages sd_notify(3) and
sd_watchdog_enabled(3). Decision 71 gives the reasons for the keys that are used.

Invariants: no failure of this socket ends or delays the program. A report that the event loop runs
is sent by the event loop.
"""

import logging
import socket
from collections.abc import MutableMapping
from typing import Final, Self

log = logging.getLogger(__name__)

_ADDRESS: Final = "NOTIFY_SOCKET"
_WATCHDOG_TIMEOUT: Final = "WATCHDOG_USEC"
_WATCHED_PID: Final = "WATCHDOG_PID"
_US_PER_S: Final = 1e6
_RETRY_S: Final = 0.1


class ServiceManager:
    """Sends reports to the service manager; without a service manager, it does nothing.

    Attributes:
        watchdog_interval_s: the time between two reports that the event loop runs. None if the
            service manager does not wait for them.
    """

    def __init__(self, address: str = "", watchdog_interval_s: float | None = None) -> None:
        """Create the reports; ``address`` is a path, or ``@`` and an abstract address."""
        if address.startswith("@"):
            address = "\0" + address[1:]
        elif not address.startswith("/"):
            address = ""  # nothing is set, or a kind of address for virtual machines (vsock:)
        self._address = address
        self._socket: socket.socket | None = None
        self._has_failed = False
        self.watchdog_interval_s = watchdog_interval_s if self._address else None

    @classmethod
    def take(cls, variables: MutableMapping[str, str], pid: int) -> Self:
        """Remove the service manager's variables from the environment, and use their values.

        They are removed because they are not for the children of this process. The watchdog is for
        this process only if ``WATCHDOG_PID`` is ``pid`` or is not set.
        """
        address = variables.pop(_ADDRESS, "")
        timeout_us = variables.pop(_WATCHDOG_TIMEOUT, "")
        watched_pid = variables.pop(_WATCHED_PID, "")
        is_watched = (
            timeout_us.isdecimal() and int(timeout_us) > 0 and watched_pid in {"", str(pid)}
        )
        return cls(address, int(timeout_us) / _US_PER_S / 2 if is_watched else None)

    async def report_running(self, status: str) -> None:
        """Report that the server serves; then report until cancelled that the event loop runs.

        Without a watchdog, this method returns after the first report. ``status`` is the line that
        ``systemctl status`` shows.
        """
        import asyncio  # noqa: PLC0415 -- takes 10 ms; the callers of coroutines have imported it

        await self._deliver(f"READY=1\n{_status(status)}")
        while self.watchdog_interval_s is not None:
            await asyncio.sleep(self.watchdog_interval_s)
            await self._deliver("WATCHDOG=1")

    def report(self, lines: str, status: str = "") -> bool:
        """Send lines of the form ``KEY=value``, and a status; False if the queue is full.

        The caller sends an important report again later.
        """
        return self._send("\n".join(part for part in (lines, status and _status(status)) if part))

    def report_stopping(self) -> None:
        """Report that the program stops."""
        self._send(f"STOPPING=1\n{_status('stopping')}")

    def report_failed(self, reason: str) -> None:
        """Report why the program ends."""
        self._send(_status(reason))

    def close(self) -> None:
        """Close the socket. A later report opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _deliver(self, report: str) -> None:
        """Send a report, again and again while the service manager's queue is full."""
        import asyncio  # noqa: PLC0415 -- as above

        while not self._send(report):
            await asyncio.sleep(_RETRY_S)

    def _send(self, report: str) -> bool:
        """Send a report without waiting; return False if the service manager's queue is full."""
        if not self._address:
            return True
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            # The socket is not connected, so reports arrive also after systemd has started again.
            self._socket.sendto(report.encode(errors="replace"), self._address)
        except BlockingIOError:
            return False
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                log.warning(
                    "the reports for the service manager cannot be sent to NOTIFY_SOCKET: %s. The"
                    " program continues, but the service manager may wait for the reports.",
                    error.strerror or error,
                )
        return True


def _status(text: str) -> str:
    """Return the line for a status, which ends at the first line end."""
    return f"STATUS={' '.join(text.splitlines())}"
