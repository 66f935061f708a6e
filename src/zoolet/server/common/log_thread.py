"""The log thread, and beside it a thread that writes without Python's interpreter lock.

A thread of Python waits for the lock after each system call, while the event loop works; then the
event loop waits for the lock. docs/decisions/0118-writer-thread.md has the measurements.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from zoolet.server.common.disk_thread import DiskThread

if TYPE_CHECKING:
    from zoolet.storage.writer_thread import WriterThread

Done = Callable[[Exception | None], None]


class LogThread(DiskThread):
    """Runs calls and writes, one after another, in the order in which they were submitted.

    All methods must be called on the event loop's thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the threads. Without the compiled module, `write` refuses every write."""
        super().__init__(loop, "zoolet-log")
        self._writer = _start_writer()
        self._written: Callable[[Exception | None, float], None] | None = None
        self._num_calls = 0
        self._waiting: deque[tuple[Callable[[], None], Done]] = deque()
        if self._writer is not None:
            loop.add_reader(self._writer.fileno(), self._end_write)

    def submit(self, call: Callable[[], None], done: Done) -> None:
        """Run ``call`` after all earlier calls and writes; see DiskThread."""
        if self._written is not None:
            self._waiting.append((call, done))
            return
        self._num_calls += 1
        super().submit(call, partial(self._end_call, done))

    def write(
        self,
        fd: int,
        data: bytes,
        zero_bytes: int,
        done: Callable[[Exception | None, float], None],
    ) -> bool:
        """Begin to write all of ``data``; return False, and do nothing, if that is impossible now.

        It is impossible while a call or a write is in progress.

        Args:
            fd: the descriptor of a file.
            data: the bytes.
            zero_bytes: the number of zeros after them, as in ``DiskFile.write``.
            done: gets the exception of the write, or None, and its duration in seconds.
        """
        writer = self._writer
        if writer is None or self._num_calls or self._written is not None:
            return False
        writer.write(fd, data, zero_bytes)
        self._written = done
        return True

    def stop(self) -> None:
        """Stop the threads; return when all submitted calls and writes have run."""
        if self._writer is not None:
            self._loop.remove_reader(self._writer.fileno())
            self._writer.close()
            if self._written is not None:
                self._end_write()
        super().stop()

    def _end_call(self, done: Done, failure: Exception | None) -> None:
        self._num_calls -= 1
        done(failure)

    def _end_write(self) -> None:
        done, self._written = self._written, None
        writer = self._writer
        if done is None or writer is None:
            raise AssertionError("a write returned, but none was in progress")
        failure: Exception | None = None
        took_s = 0.0
        try:
            took_s = writer.finish()
        except OSError as error:
            failure = error
        while self._waiting:  # they were submitted before what done() submits
            self.submit(*self._waiting.popleft())
        done(failure, took_s)


def _start_writer() -> "WriterThread | None":
    """Start the thread that writes without the lock; None if the module is not compiled."""
    try:
        from zoolet.storage.writer_thread import WriterThread  # noqa: PLC0415 -- may be missing
    except ImportError:
        return None
    return WriterThread()
