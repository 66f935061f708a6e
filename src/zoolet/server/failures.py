"""Decides which failures stop the server, and keeps the first reason."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zoolet.server.common.errors import AuditError, ServerError
from zoolet.server.logs.log_limiter import LogLimiter
from zoolet.server.sockets.listening import is_broken_connection

log = logging.getLogger(__name__)

HARMLESS_IN_CALLBACKS = (OSError, EOFError, asyncio.CancelledError, asyncio.TimeoutError)
"""Exceptions from callbacks of the event loop that affect one connection only.

They are caused by broken connections, failed TLS handshakes (``ssl.SSLError`` is an OSError) and
time-outs. Any other exception in a callback stops the server.
"""


class Failures:
    """The failures of one server.

    Attributes:
        first: gets the first failure as its exception; it never gets a result.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, logs: Path, limited: LogLimiter) -> None:
        """Expect failures; ``logs`` is the directory of the transaction log, for messages."""
        self.first: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._logs = logs
        self._limited = limited
        self._stop: Callable[[], None]

    def fail(self, message: str) -> None:
        """Stop the server; after several failures, the first message is reported."""
        if not self.first.done():
            self.first.set_exception(ServerError(message))
            # Mark the exception as retrieved, also if no caller waits for it during a stop.
            self.first.exception()

    def start_repeating(
        self, started: contextlib.AsyncExitStack, interval_ms: int, call: Callable[[], None]
    ) -> None:
        """Call ``call`` regularly until ``started`` is closed; stop the server if it fails."""
        repeating = self._loop.create_task(_repeat(interval_ms, call))
        repeating.add_done_callback(self._repetition_ended)
        started.callback(repeating.cancel)

    def _repetition_ended(self, repeating: "asyncio.Task[None]") -> None:
        """Stop the server if a periodic task failed."""
        if not repeating.cancelled() and (failure := repeating.exception()) is not None:
            log.error("a periodic task of the server failed", exc_info=failure)
            self.fail(
                f"a periodic task of the server failed: {failure!r}. Sessions and znodes cannot"
                " expire any more, so the server stops. Start it again, and report this error."
            )

    def log_failed(self, failure: Exception) -> None:
        """Stop the server, because the content of the log on disk is unknown.

        Or, for an AuditError, because a record of the audit log cannot be written.
        """
        if isinstance(failure, AuditError):
            self.fail(f"{failure}.")
            return
        self.fail(
            f"the transaction log in {self._logs} cannot be written: {failure}."
            " The server stops, because later changes may not be on disk. Free disk space or repair"
            " the disk, then start the server again: every acknowledged change is on disk."
        )

    def state_unknown(self, failure: Exception) -> None:
        """Stop the server, because a change failed after it was applied in part."""
        self.fail(
            f"a change could not be completed in memory: {failure!r}. The server stops, because its"
            " state in memory is unknown. Start it again: every acknowledged change is on disk."
            " After a MemoryError, give the process more memory."
        )
        log.error("a change could not be completed in memory", exc_info=failure)

    def handle_callbacks(self, stop: Callable[[], None]) -> None:
        """Handle the exceptions in callbacks of the event loop from now on.

        ``stop`` is called before the server stops, so that nothing more is acknowledged.
        """
        self._stop = stop
        self._loop.set_exception_handler(self._callback_failed)

    def _callback_failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Stop the server after an exception in a callback of the event loop, or only log it.

        Only this method decides which exceptions are harmless: exceptions that the network or a
        client causes and that affect one connection only.
        """
        failure = context.get("exception")
        message = str(context.get("message", ""))
        is_harmless = isinstance(failure, HARMLESS_IN_CALLBACKS) and "protocol." not in message
        if failure is None or is_harmless or is_broken_connection(context):
            self._limited.info("%s: %r", context.get("message", "a connection failed"), failure)
            return
        if self.first.done():
            return
        self._stop()
        self.fail(
            f"a callback of the event loop failed: {failure!r}. The server stops, because its state"
            " is unknown. Start it again: every acknowledged change is on disk."
        )
        log.error("a callback of the event loop failed", exc_info=failure)


async def _repeat(interval_ms: int, call: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(interval_ms / 1000)
        call()
