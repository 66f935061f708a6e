"""An event loop of asyncio on the simulated clock and network.

It is the base loop of the standard library with another selector: a wait for sockets lets simulated
time pass. Its futures tell at once when they are done.
"""

import asyncio
import errno
import os
from collections.abc import Callable
from typing import Any, cast

from tests.client_simulation.clock import Clock, Link, Network

LONGEST_STEP_S = 0.00005
"""The longest time that a turn of the loop takes."""


class NotedFuture(asyncio.Future[Any]):
    """A future that tells at once when it has its result.

    Attributes:
        on_done: called after the result is set.
    """

    on_done: Callable[[], None] | None = None

    def set_result(self, result: Any) -> None:
        super().set_result(result)
        if self.on_done is not None:
            self.on_done()

    def set_exception(self, exception: Any) -> None:
        super().set_exception(exception)
        if self.on_done is not None:
            self.on_done()


class _Selector:
    """Lets time pass instead of waiting for sockets."""

    def __init__(self, clock: Clock, network: Network) -> None:
        self._clock = clock
        self._network = network

    def select(self, timeout: float | None) -> list[object]:
        clock = self._clock
        if timeout == 0:
            clock.advance_to(clock.now_s + LONGEST_STEP_S * self._network.chance.random())
        elif timeout is None or clock.next_s <= clock.now_s + timeout:
            clock.run_next()
        else:
            clock.now_s += timeout
        return []

    def close(self) -> None:
        """Do nothing."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop.

    Attributes:
        errors: what the loop had to report, such as an exception in a callback.
        steps: counts the futures that tasks wait for; a test may cancel at one of them.
    """

    def __init__(self, clock: Clock, network: Network) -> None:
        super().__init__()
        self._clock = clock
        self._network = network
        self._selector = _Selector(clock, network)
        self._clock_resolution = 1e-9
        self.errors: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.errors.append(context))

    def time(self) -> float:
        return self._clock.now_s

    def create_future(self) -> asyncio.Future[Any]:
        return NotedFuture(loop=self)

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return the timers that are not cancelled."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        return [timer for timer in scheduled if not timer.cancelled()]

    def _process_events(self, event_list: list[object]) -> None:
        """Do nothing: functions of the clock have put what is ready into the loop."""

    def _write_to_self(self) -> None:
        """Do nothing: there is only one thread."""

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        """Open a connection; the arguments are a protocol factory, an address and a port."""
        factory, _, port = args
        assert options["ssl"] is None
        opened = self.create_future()
        transport = SimulatedTransport(self)

        def note(link: Link | None) -> None:
            transport.link = link
            if opened.done():  # the client does not wait any more
                if link is not None:
                    link.close()
            elif link is None:
                refused = errno.ECONNREFUSED
                opened.set_exception(ConnectionRefusedError(refused, os.strerror(refused)))
            else:
                opened.set_result(None)

        self._network.connect(port, transport, note)
        try:
            await opened
        except BaseException:
            transport.abort()
            raise
        protocol = cast("asyncio.Protocol", factory())
        transport.begin(protocol)
        made = self.create_future()
        self.call_soon(protocol.connection_made, transport)
        self.call_soon(lambda: None if made.done() else made.set_result(None))
        try:
            await made
        except BaseException:
            transport.close()
            raise
        return transport, protocol


class SimulatedTransport(asyncio.Transport):
    """A connection.

    Attributes:
        link: the connection in the network; None before it is open.
    """

    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self.link: Link | None = None
        self._loop = loop
        self._protocol: asyncio.Protocol | None = None
        self._is_closing = False

    def begin(self, protocol: asyncio.Protocol) -> None:
        """Pass on what comes to a protocol."""
        self._protocol = protocol

    # Called by the network.

    def received(self, data: bytes) -> None:
        """Take bytes of the server."""
        self._loop.call_soon(self._pass_on, data)

    def ended(self, *, is_reset: bool) -> None:
        """Note that the server has closed the connection, or that it was cut."""
        self._loop.call_soon(self._end, is_reset)

    def _pass_on(self, data: bytes) -> None:
        if self._protocol is not None and not self._is_closing:
            self._protocol.data_received(data)

    def _end(self, is_reset: bool) -> None:
        if self._protocol is None or self._is_closing:
            return
        if is_reset:
            reset = errno.ECONNRESET
            self._close(ConnectionResetError(reset, os.strerror(reset)))
        else:
            self._protocol.eof_received()
            self._close(None)

    # Called by the client.

    def write(self, data: Any) -> None:
        """Send bytes."""
        if self.link is not None and not self._is_closing:
            self.link.to_server.send(bytes(data))

    def is_closing(self) -> bool:
        return self._is_closing

    def abort(self) -> None:
        """Close the connection."""
        self._close(None)

    close = abort

    def _close(self, error: Exception | None) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        if self.link is not None:
            self.link.close()
        if self._protocol is not None:
            self._loop.call_soon(self._protocol.connection_lost, error)
