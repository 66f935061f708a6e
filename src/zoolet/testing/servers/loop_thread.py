"""An event loop on its own thread, which runs calls for other threads.

An embedded server runs completely on this thread. A test passes a function to the thread and waits
for the result. This module does not depend on servers.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_WAIT_S = 60.0


def _new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop of the kind that the server uses in production."""
    try:
        import uvloop  # noqa: PLC0415 -- not every Python has uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class LoopThread:
    """An event loop on a thread. The thread runs until ``close``.

    Attributes:
        loop: the event loop.
    """

    def __init__(self, name: str) -> None:
        self.loop = _new_loop()
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T]) -> T:
        """Call a function on the thread; return its result or raise its exception."""
        if threading.current_thread() is self._thread:
            return function()
        result: Future[T] = Future()

        def call() -> None:
            try:
                result.set_result(function())
            except BaseException as error:  # noqa: BLE001 -- raised in the caller's thread
                result.set_exception(error)

        self._expect_running()
        self.loop.call_soon_threadsafe(call)
        return result.result(_WAIT_S)

    def run(self, coroutine: Coroutine[Any, Any, T], timeout_s: float = _WAIT_S) -> T:
        """Run a coroutine on the thread; return its result or raise its exception."""
        try:
            self._expect_running()
        except RuntimeError:
            coroutine.close()
            raise
        running = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return running.result(timeout_s)
        except TimeoutError:
            running.cancel()
            raise

    def pause(self) -> None:
        """Pause the thread; return when the thread is paused."""
        self._expect_running()
        stands = threading.Event()

        self.loop.call_soon_threadsafe(self.stand_still, stands.set)
        stands.wait(_WAIT_S)

    def stand_still(self, tell: Callable[[], None]) -> None:
        """Block until ``resume``; must be called on the thread itself.

        This method calls ``tell`` as soon as ``resume`` can end the pause.
        """
        self._goes_on.clear()
        tell()
        self._goes_on.wait()

    def resume(self) -> None:
        """End the pause, if the thread is paused."""
        self._goes_on.set()

    def close(self) -> None:
        """End the loop and its thread; tasks that still run on the loop are dropped."""
        self.resume()
        self.loop.call_soon_threadsafe(self.loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(_WAIT_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()

    def _expect_running(self) -> None:
        if not self._thread.is_alive():
            raise RuntimeError("the server was closed: create another EmbeddedServer")
        if not self._goes_on.is_set():
            raise RuntimeError("the server is paused: resume it first")
