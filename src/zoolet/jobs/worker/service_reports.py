"""What a worker's program reports about its health: to the service manager, and in a status file.

The program calls `look` at least once a second, in its main thread. Invariants:

- The status file is replaced as a whole, so a reader never sees a part of it.
- A failure to report never ends the worker. A failure is logged one time.
- If the worker is not live, the service manager gets no watchdog report, so it restarts the worker.

This module imports `zoolet.process` and other modules of its package.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from zoolet.jobs.worker.worker import Worker
from zoolet.process.service_manager import ServiceManager

log = logging.getLogger(__name__)

WRITE_EVERY_S = 10.0
"""The time after which the status file is written again, in seconds, although nothing changed."""


class ServiceReports:
    """The reports of one worker.

    Args:
        worker: the worker.
        queues: the paths of the worker's queues.
        status_file: the path of the status file; None for no file.
        manager: the service manager.
        clock: returns the time in seconds, for tests.
    """

    def __init__(
        self,
        worker: Worker,
        queues: Sequence[str],
        status_file: Path | None = None,
        manager: ServiceManager | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker = worker
        self._queues = queues
        self._file = status_file
        self._manager = ServiceManager() if manager is None else manager
        self._clock = clock
        self._is_running = False
        self._reloads: int | None = None
        self._said = ""
        self._written: dict[str, Any] = {}
        self._write_at = 0.0
        self._alive_at = 0.0
        self._has_failed = False

    def look(self) -> None:
        """Report the health of the worker, if a report is due."""
        health = self._worker.health()
        if self._reloads is not None and health.reloads > self._reloads:
            self._reloads, self._is_running = None, False
        if self._reloads is None:
            self._report_state(health.reason or f"{health.state}: {', '.join(self._queues)}")
        now = self._clock()
        interval_s = self._manager.watchdog_interval_s
        if interval_s is not None and health.is_live and now >= self._alive_at:
            self._alive_at = now + interval_s
            self._manager.report("WATCHDOG=1")
        self._write(health.as_dict(), now)

    def _report_state(self, status: str) -> None:
        """Report that the worker runs, and its status, if this was not reported before."""
        if self._is_running and status == self._said:
            return
        if self._manager.report("" if self._is_running else "READY=1", status):
            self._is_running, self._said = True, status

    def reloading(self) -> None:
        """Report that the worker begins to load new code; `look` reports the end."""
        self._reloads = self._worker.health().reloads
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._manager.report(f"RELOADING=1\nMONOTONIC_USEC={microseconds}", "loading new code")

    def stopping(self) -> None:
        """Report that the worker stops."""
        self._manager.report_stopping()
        self._write(self._worker.health().as_dict(), self._clock())

    def ended(self) -> None:
        """Report the end of the worker."""
        if self._worker.failure is not None:
            self._manager.report_failed(str(self._worker.failure) or repr(self._worker.failure))
        self._write(self._worker.health().as_dict(), self._clock())
        self._manager.close()

    def _write(self, health: dict[str, Any], now: float) -> None:
        """Write the status file if the health has changed, or was written a while ago."""
        if self._file is None or (health == self._written and now < self._write_at):
            return
        found = health | {
            "queue": self._queues[0],
            "pid": os.getpid(),
            "written_ms": time.time_ns() // 1_000_000,
        }
        beside = self._file.with_name(f"{self._file.name}.new")
        try:
            found |= self._worker.tally()
            if len(self._queues) > 1:
                found["by_queue"] = self._worker.tallies()
            beside.write_text(json.dumps(found) + "\n")
            beside.replace(self._file)
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                log.warning("the status file %s cannot be written: %s", self._file, error)
            return
        self._has_failed = False
        self._written, self._write_at = health, now + WRITE_EVERY_S
