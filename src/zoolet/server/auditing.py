"""The life of the audit log in a server, and the records of the server's start and stop.

Source: ``ZKAuditProvider.addZKStartStopAuditLog`` of Apache ZooKeeper.
"""

import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from zoolet.process.user import user_name
from zoolet.server.audit.records import FAILURE, INVOKED, START, STOP, SUCCESS, AuditRecord
from zoolet.server.common.clock import Clock
from zoolet.server.common.disk_thread import DiskThread
from zoolet.server.common.errors import AuditError, ServerError
from zoolet.server.common.stats import AuditCounts

if TYPE_CHECKING:
    from zoolet.server.audit.audit_log import AuditLog
    from zoolet.server.zoo_cfg.config import AuditConfig

log = logging.getLogger(__name__)


class Auditing:
    """The audit log of a server, if zoo.cfg enables it.

    Attributes:
        counts: the numbers of records.
        write: writes records, on the log thread; None if there is no audit log.
    """

    def __init__(self, config: "AuditConfig | None", clock: Clock) -> None:
        self.counts = AuditCounts()
        self.write: Callable[[Sequence[AuditRecord]], None] | None = None
        self._config = config
        self._clock = clock
        self._has_started = False

    def begin(self, started: contextlib.AsyncExitStack) -> None:
        """Open the audit log until ``started`` is closed; raises ServerError."""
        if self._config is None:
            return
        from zoolet.server.audit.audit_log import AuditLog  # noqa: PLC0415 -- rare

        try:
            audit_log = AuditLog(self._config, user_name(), self.counts, self._clock)
        except AuditError as error:
            raise ServerError(f"{error}.") from error
        self.write = audit_log.write
        started.push(partial(self._end, audit_log))

    def server_started(self, thread: DiskThread, done: Callable[[Exception], None]) -> None:
        """Record that the server has started; ``done`` gets the failure to write this."""
        self._has_started = True
        if self.write is not None:

            def written(failure: Exception | None) -> None:
                if failure is not None:
                    done(failure)

            thread.submit(partial(self.write, [self._record(START, SUCCESS)]), written)

    def _end(
        self,
        audit_log: "AuditLog",
        _exc_type: type[BaseException] | None,
        _exc: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        """Record that the server stops, or has not started; the other threads have ended."""
        stops = self._record(STOP, INVOKED) if self._has_started else self._record(START, FAILURE)
        try:
            audit_log.write([stops])
        except AuditError as error:
            log.warning("the end of the server is not in the audit log: %s", error)
        audit_log.close()
        return False

    def _record(self, operation: str, result: str) -> AuditRecord:
        return AuditRecord(self._clock.wall_ms(), operation, result)
