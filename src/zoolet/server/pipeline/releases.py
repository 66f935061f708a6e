"""Releases: sends the frames that waited for a batch to their clients.

One iteration of the event loop releases a limited number of holds. If many clients get frames, as
after a change of a znode with many watches, a second thread helps to send them: see
docs/decisions/0124-sending-thread.md. State and connections still belong to the event loop's thread
alone, which waits until both have sent all frames of a group.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from zoolet.process import processors
from zoolet.server.common.scheduler import Scheduler, Share
from zoolet.server.connections.batches import Batch, Hold

if TYPE_CHECKING:
    from zoolet.server.connections.sending_thread import SendingThread

RELEASED_AT_ONCE: Final = 256
"""One iteration of the event loop releases at most this number of holds. Each needs a system call
of 5 to 13 µs, so more holds would delay the requests of other clients."""

_RELEASED_AT_ONCE_BYTES: Final = 1 << 20
"""After this number of bytes, an iteration releases no further hold."""

SENT_TOGETHER_FROM: Final = 128
"""The second thread helps with at least this number of holds of one batch. With 32, connections
with new sessions were slower, because the client and the server need both processors then."""


@final
class Releases:
    """The holds of the batches that are on disk, in the order in which they are released."""

    def __init__(self, loop: asyncio.AbstractEventLoop, scheduler: Scheduler) -> None:
        """Begin without holds.

        Args:
            loop: the event loop.
            scheduler: shares the event loop's thread; is told of the time that releases take.
        """
        self._loop = loop
        self._scheduler = scheduler
        self._share = Share("sending replies")
        self._queue: deque[Hold] = deque()
        self._is_stopped = False
        self._sending_thread: SendingThread | None = None
        self._may_start_thread = True

    def add(self, batch: Batch) -> None:
        """Send the frames of a batch, after the frames of earlier batches."""
        is_releasing = bool(self._queue)
        self._queue.extend(batch.holds)
        if not is_releasing:
            self._release_some()

    def stop(self) -> None:
        """Release nothing more."""
        self._is_stopped = True

    def close(self) -> None:
        """End the second thread, and start no other."""
        self._may_start_thread = False
        if self._sending_thread is not None:
            self._sending_thread.close()
            self._sending_thread = None

    def _release_some(self) -> None:
        """Release as many holds as one iteration may; the next iteration releases more.

        This is not a task of the scheduler. There, connections with new requests could come first
        for a long time, while others wait for their replies.
        """
        if self._is_stopped:
            return
        began_s = self._scheduler.now_s()
        left: i64 = RELEASED_AT_ONCE
        size_bytes: i64 = 0
        while self._queue and left > 0 and size_bytes <= _RELEASED_AT_ONCE_BYTES:
            holds = self._next_holds(left, _RELEASED_AT_ONCE_BYTES - size_bytes)
            if len(holds) >= SENT_TOGETHER_FROM:
                self._send_together(holds)
            for hold in holds:
                self._queue.popleft()
                left -= 1
                size_bytes += hold.size_bytes
                hold.connection.release(hold)
        self._scheduler.used(self._share, began_s)
        if self._queue:
            self._loop.call_soon(self._release_some)

    def _next_holds(self, most: i64, most_bytes: i64) -> list[Hold]:
        """Return the next holds, all of one batch, so that no connection has two of them."""
        holds: list[Hold] = []
        size_bytes: i64 = 0
        for hold in self._queue:
            is_full = len(holds) >= most or size_bytes > most_bytes
            if holds and (is_full or hold.batch is not holds[0].batch):
                break
            holds.append(hold)
            size_bytes += hold.size_bytes
        return holds

    def _send_together(self, holds: list[Hold]) -> None:
        """Send frames of holds with both threads, and write in each hold how much was sent."""
        thread = self._sending_thread
        if thread is None and self._may_start_thread:
            self._may_start_thread = False
            thread = self._sending_thread = _start_thread()
        if thread is None:
            return
        try:
            ready: list[Hold] = []
            descriptors: list[int] = []
            for hold in holds:
                descriptor = hold.connection.descriptor_for(hold)
                if descriptor >= 0:
                    ready.append(hold)
                    descriptors.append(descriptor)
            if len(ready) >= SENT_TOGETHER_FROM:
                frames = [hold.newest() for hold in ready]
                for hold, sent in zip(ready, thread.send_each(descriptors, frames), strict=True):
                    hold.sent_bytes = sent
        except Exception:  # noqa: BLE001 -- without memory; each connection reports it
            for hold in holds:
                hold.sent_bytes = -1


def _start_thread() -> "SendingThread | None":
    """Start the second thread; None if it cannot exist here, or would not help."""
    try:
        from zoolet.server.connections.sending_thread import (  # noqa: PLC0415 -- may be missing
            SendingThread,
        )

        return SendingThread() if processors.count() > 1 else None
    except (ImportError, OSError):
        return None
