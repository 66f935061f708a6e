"""The audit log: it takes the records of synced batches and appends them to a file.

The log thread passes the records of a batch after the sync of the batch and before its replies are
sent. So no record says success before the txn is on disk. With ``zoolet.audit.onFailure``:

- ``stop``: the log thread writes the records. Clients see a change only after its record is
  written, and the server stops if a record cannot be written. Until then the writes of clients
  wait, as they wait for the transaction log.
- ``drop``: another thread writes the records, so that neither the event loop nor the log thread
  waits for this file. At most ``QUEUE_BYTES`` wait for this thread. Records above this limit, and
  records that cannot be written, are lost and counted.

The lines are written to the operating system without a sync.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from zoolet.server.audit.formats import ApacheFormat, JsonFormat
from zoolet.server.audit.records import AuditRecord
from zoolet.server.audit.rotating_file import RotatingFile
from zoolet.server.common.clock import Clock
from zoolet.server.common.errors import AuditError
from zoolet.server.common.stats import AuditCounts
from zoolet.server.logs.log_limiter import LogLimiter
from zoolet.server.zoo_cfg.config import AuditConfig

log = logging.getLogger(__name__)

QUEUE_BYTES: Final = 16 << 20
CHUNK_BYTES: Final = 64 << 10
_STOP_TIMEOUT_S: Final = 5.0


class AuditLog:
    """The audit log of one server.

    Attributes:
        path: the path of the file.
    """

    def __init__(
        self, config: AuditConfig, server_user: str, counts: AuditCounts, clock: Clock
    ) -> None:
        """Open the file.

        Args:
            config: the settings.
            server_user: the user in records of the server itself.
            counts: the counters for the numbers of written and of lost records.
            clock: the clock of the server.

        Raises AuditError if the file cannot be opened and the server must stop then.
        """
        self.path = config.file
        self._counts = counts
        self._clock = clock
        self._format = JsonFormat(server_user) if config.is_json else ApacheFormat(server_user)
        self._file = RotatingFile(
            config.file, config.max_file_bytes, config.period_h, config.kept_files, config.mode
        )
        self._limited = LogLimiter(log, clock.monotonic_ms)
        self._changed = threading.Condition()
        self._queue: deque[tuple[bytes, int]] = deque()
        self._queued_bytes = 0
        self._is_ending = False
        self._thread: threading.Thread | None = None
        try:
            self._file.open()
        except OSError as error:
            if config.stops:
                raise AuditError(self._explained(error)) from error
            self._limited.warning(
                "audit records are lost: %s cannot be opened: %s", self.path, _reason(error)
            )
        if not config.stops:
            self._thread = threading.Thread(target=self._run, name="zoolet-audit", daemon=True)
            self._thread.start()

    def write(self, records: Sequence[AuditRecord]) -> None:
        """Write records, or give them to the thread that writes; not for the event loop's thread.

        Raises AuditError if the server must stop.
        """
        for lines, count in self._chunks(records):
            if self._thread is not None:
                self._enqueue(lines, count)
                continue
            try:
                self._file.write(lines, self._clock.wall_ms())
            except OSError as error:
                raise AuditError(self._explained(error)) from error
            self._counts.written += count

    def close(self) -> None:
        """Write the records that wait, and close the file. A hanging disk is not waited for."""
        thread = self._thread
        if thread is not None:
            with self._changed:
                self._is_ending = True
                self._changed.notify()
            thread.join(_STOP_TIMEOUT_S)
            if thread.is_alive():
                log.warning("%s: the disk does not respond; audit records are lost", self.path)
                return
        self._file.close()

    def _chunks(self, records: Sequence[AuditRecord]) -> Iterator[tuple[bytes, int]]:
        """Yield the lines of records in pieces, each with the number of its records.

        The lines of a large multi together may need much more memory than its txn.
        """
        pieces: list[bytes] = []
        size_bytes = 0
        for record in records:
            # A path that is no valid Unicode has surrogates; they become escapes, too.
            line = self._format.line(record).encode("utf-8", "backslashreplace")
            pieces.append(line)
            size_bytes += len(line)
            if size_bytes >= CHUNK_BYTES:
                yield b"".join(pieces), len(pieces)
                pieces, size_bytes = [], 0
        if pieces:
            yield b"".join(pieces), len(pieces)

    # --- The thread that writes with onFailure=drop

    def _enqueue(self, lines: bytes, count: int) -> None:
        with self._changed:
            if self._queued_bytes + len(lines) <= QUEUE_BYTES:
                self._queue.append((lines, count))
                self._queued_bytes += len(lines)
                self._changed.notify()
                return
            self._counts.lost += count
        self._limited.warning(
            "audit records are lost: the disk of %s is too slow for them", self.path
        )

    def _run(self) -> None:
        while (taken := self._next()) is not None:
            lines, count = taken
            try:
                self._file.write(lines, self._clock.wall_ms())
            except Exception as error:  # noqa: BLE001 -- the thread must not end
                with self._changed:
                    self._counts.lost += count
                self._limited.warning(
                    "audit records are lost: %s cannot be written: %s", self.path, _reason(error)
                )
            else:
                with self._changed:
                    self._counts.written += count

    def _next(self) -> tuple[bytes, int] | None:
        """Wait for lines to write; None if the log is closed and none are left."""
        with self._changed:
            while not self._queue:
                if self._is_ending:
                    return None
                self._changed.wait()  # ends: close() notifies
            lines, count = self._queue.popleft()
            self._queued_bytes -= len(lines)
            return lines, count

    def _explained(self, error: OSError) -> str:
        return (
            f"the audit log {self.path} cannot be written: {_reason(error)}. The server stops,"
            " because zoolet.audit.onFailure=stop. Free disk space or correct zoolet.audit.file,"
            " then start the server again: every acknowledged change is on disk and in the audit"
            " log"
        )


def _reason(error: Exception) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else repr(error)
