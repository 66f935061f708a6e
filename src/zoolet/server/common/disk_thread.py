"""A thread for calls that may block on the disk: one for the log, one for snapshots."""

import asyncio
import queue
import threading
from collections.abc import Callable


class DiskThread:
    """Runs calls that may block on the disk, one after another, off the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        """Begin to wait for calls; ``name`` is what tools show of the thread."""
        self._loop = loop
        self._calls: queue.SimpleQueue[
            tuple[Callable[[], None], Callable[[Exception | None], None]] | None
        ] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        """Run ``call`` there, then ``done`` here with the exception that it raised, or None."""
        self._calls.put((call, done))

    def stop(self) -> None:
        """Return when everything submitted has run."""
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._run_next():
            # A local variable here would keep the last batch in memory until the next call comes.
            pass

    def _run_next(self) -> bool:
        """Wait for the next call and run it; say whether another one may come."""
        job = self._calls.get()
        if job is None:
            return False
        call, done = job
        failure: Exception | None = None
        try:
            call()
        except Exception as error:  # noqa: BLE001 -- the loop's thread decides
            failure = error
        self._loop.call_soon_threadsafe(done, failure)
        return True
