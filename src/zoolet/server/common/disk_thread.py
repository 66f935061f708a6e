"""Threads for calls that may block on the disk: one thread for the log, one for snapshots."""

import asyncio
import queue
import threading
from collections.abc import Callable


class DiskThread:
    """Runs calls that may block on the disk, one after another, off the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        """Start the thread, which waits for calls; ``name`` is the name of the thread in tools."""
        self._loop = loop
        self._calls: queue.SimpleQueue[
            tuple[Callable[[], None], Callable[[Exception | None], None]] | None
        ] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        """Run ``call`` on this thread, and then ``done`` on the event loop's thread.

        ``done`` gets the exception that ``call`` raised, or None if it raised no exception.
        """
        self._calls.put((call, done))

    def stop(self) -> None:
        """Stop the thread; return when all submitted calls have run."""
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._run_next():
            # No local variable here: it would keep the last batch in memory until the next call.
            pass

    def _run_next(self) -> bool:
        """Wait for the next call and run it; return False if the thread must stop."""
        job = self._calls.get()
        if job is None:
            return False
        call, done = job
        failure: Exception | None = None
        try:
            call()
        except Exception as error:  # noqa: BLE001 -- the event loop's thread decides what to do
            failure = error
        self._loop.call_soon_threadsafe(done, failure)
        return True
