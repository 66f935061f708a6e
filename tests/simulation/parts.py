"""What the simulated server stands on: an event loop's queue, a thread for the disk, a network."""

from collections import deque
from collections.abc import Callable
from functools import partial

from tests.simulation.disk import CrashError
from tests.simulation.memory import FailingMemory
from tests.support.simulated import OpenTransport


class SimulatedLoop:
    """The event loop's queue: what is called soon is called when the simulation says so.

    Like the real loop, it goes on after an exception in a callback, and reports it to a handler.
    """

    def __init__(self, on_exception: Callable[[Exception], None], memory: FailingMemory) -> None:
        self._ready: deque[Callable[[], None]] = deque()
        self._on_exception = on_exception
        self._memory = memory

    def call_soon(self, call: Callable[..., None], *args: object) -> None:
        self._ready.append(partial(call, *args))

    call_soon_threadsafe = call_soon

    def run_ready(self) -> None:
        """Run what is ready, and what that makes ready."""
        while self._ready:
            self.guard(self._ready.popleft())

    def guard(self, call: Callable[[], None]) -> None:
        """Call what the loop calls; memory may be short meanwhile."""
        try:
            with self._memory:
                call()
        except CrashError:
            raise
        except Exception as error:  # noqa: BLE001 -- as the real loop does
            self._on_exception(error)


class SimulatedDiskThread:
    """What a thread that waits for the disk is to do; a step of the simulation does one of it."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.calls: deque[tuple[Callable[[], None], Callable[[Exception | None], None]]] = deque()

    def submit(self, call: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        self.calls.append((call, done))

    def step(self) -> None:
        """Do the next of it; a crash in the middle comes through."""
        if self.calls:
            call, done = self.calls.popleft()
            failure: Exception | None = None
            try:
                call()
            except CrashError:
                raise
            except Exception as error:  # noqa: BLE001 -- the loop's thread decides, as in DiskThread
                failure = error
            self._loop.call_soon(done, failure)


class SimulatedTransport(OpenTransport):
    """The network's end at the server: what is written is at the client at once."""

    def __init__(self, deliver: Callable[[bytes], None]) -> None:
        self.is_cut = False
        self._deliver = deliver
        self._is_closing = False
        self._written: list[bytes] = []

    def is_closing(self) -> bool:
        return self._is_closing

    def write(self, data: bytes) -> None:
        self._written.append(data)

    def deliver(self) -> None:
        """Let what was written arrive."""
        written, self._written = self._written, []
        for data in written:
            if not self.is_cut:
                self._deliver(data)

    def close(self) -> None:
        self._is_closing = True

    abort = close

    def pause_reading(self) -> None:
        """Everything that is sent is taken here."""

    resume_reading = pause_reading
