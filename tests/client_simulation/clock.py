"""The simulated clock and the simulated network between a client and the members.

A connection has two directions. Bytes arrive in their order, after a random time, and in random
parts. A cut loses bytes on the way, and each end notices it at another time. A closed connection
delivers what was sent before. An address may refuse connections, or not reply to them.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Protocol

SLOWEST_BYTES_S = 0.05


class Clock:
    """Simulated time, and what happens at which time.

    Attributes:
        now_s: the time in seconds.
    """

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0

    def after(self, delay_s: float, act: Callable[[], object]) -> None:
        """Call a function later."""
        self.at(self.now_s + delay_s, act)

    def at(self, time_s: float, act: Callable[[], object]) -> None:
        """Call a function at a time; functions with the same time keep their order."""
        self._count += 1
        heapq.heappush(self._due, (time_s, self._count, act))

    @property
    def next_s(self) -> float:
        """The time of the next function; infinite if there is none."""
        return self._due[0][0] if self._due else float("inf")

    def run_next(self) -> None:
        """Call the next function, at its time."""
        time_s, _, act = heapq.heappop(self._due)
        self.now_s = max(self.now_s, time_s)
        act()

    def advance_to(self, time_s: float) -> None:
        """Let time pass, and call the functions that are due."""
        while self.next_s <= time_s:
            self.run_next()
        self.now_s = max(self.now_s, time_s)


class Receiver(Protocol):
    """What a server does with a connection."""

    def receive(self, data: bytes) -> None:
        """Process bytes of the client."""
        ...

    def closed_by_client(self) -> None:
        """Note that the connection has ended."""
        ...


class ClientEnd(Protocol):
    """What a client does with a connection."""

    def received(self, data: bytes) -> None:
        """Take bytes of the server."""
        ...

    def ended(self, *, is_reset: bool) -> None:
        """Note that the server has closed the connection, or that it was cut."""
        ...


class ServerEnd:
    """A connection as the server sees it."""

    def __init__(self, link: "Link") -> None:
        self._link = link

    def send(self, data: bytes) -> None:
        """Send bytes to the client."""
        self._link.to_client.send(data)

    def close(self) -> None:
        """Close the connection."""
        self._link.to_client.send_end()
        self._link.to_server.stop()


class Direction:
    """The bytes from one end to the other.

    Attributes:
        is_lossy: whether the bytes that are sent from now on are lost.
    """

    def __init__(
        self, network: "Network", take: Callable[[bytes], None], end: Callable[[], None]
    ) -> None:
        self.is_lossy = False
        self._network = network
        self._take = take
        self._end = end
        self._is_stopped = False
        self._has_end = False
        self._last_s = 0.0
        self._on_the_way: deque[bytes] = deque()

    def send(self, data: bytes) -> None:
        """Send bytes, perhaps in two parts."""
        chance = self._network.chance
        if self.is_lossy or self._has_end:
            return
        cut = len(data)
        if cut > 1 and chance.random() < self._network.splits:
            cut = chance.randrange(1, cut)
        for part in (data[:cut], data[cut:]):
            if part:
                self._on_the_way.append(part)
                self._later(self._arrive)

    def _arrive(self) -> None:
        """Deliver the next bytes, perhaps together with all bytes behind them."""
        parts = self._on_the_way
        if parts and self._network.chance.random() < self._network.joins:
            data = b"".join(parts)
            parts.clear()
            self._take(data)
        elif parts:
            self._take(parts.popleft())

    def send_end(self) -> None:
        """Send the end of the connection."""
        if not self._has_end and not self.is_lossy:
            self._has_end = True
            self._later(self._end)

    def stop(self) -> None:
        """Deliver nothing more."""
        self._is_stopped = True

    def stop_later(self) -> None:
        """Deliver what arrives within a random time, and nothing more."""
        self._network.clock.after(self._network.delay_s(), self.stop)

    def _later(self, act: Callable[[], object]) -> None:
        clock = self._network.clock
        self._last_s = max(self._last_s, clock.now_s + self._network.delay_s())
        clock.at(self._last_s, lambda: None if self._is_stopped else act())


class Link:
    """A connection between a client and a member."""

    def __init__(self, network: "Network", number: int, client: ClientEnd) -> None:
        self.number = number
        self.is_cut = False
        self._network = network
        self._client = client
        self.to_client = Direction(
            network, client.received, lambda: self._end_at_client(is_reset=False)
        )
        server = network.accept(number, ServerEnd(self))
        self._server = server
        self.to_server = Direction(network, server.receive, server.closed_by_client)

    def close(self) -> None:
        """Close the connection at the client's end."""
        self.to_client.stop()
        self.to_server.send_end()
        self._network.links.pop(self, None)

    def cut(self) -> None:
        """Lose the connection: each end notices it at another time."""
        if self.is_cut:
            return
        self.is_cut = True
        clock, network = self._network.clock, self._network
        self.to_server.stop_later()
        self.to_client.stop_later()
        clock.after(network.delay_s() * 4, self._server.closed_by_client)
        clock.after(network.delay_s() * 2, lambda: self._end_at_client(is_reset=True))

    def _end_at_client(self, *, is_reset: bool) -> None:
        if self._network.links.pop(self, 0) is None:
            self._client.ended(is_reset=is_reset)


class Network:
    """The connections to three addresses.

    Attributes:
        links: the connections that the client has not closed.
        down: for each address that accepts no connection, whether it refuses it; an address that
            does not refuse a connection does not reply.
        splits: how often bytes arrive in two parts.
        joins: how often bytes arrive together with those behind them.
        slow: the factor of all delays.
    """

    def __init__(self, clock: Clock, chance: random.Random) -> None:
        self.clock = clock
        self.chance = chance
        self.links: dict[Link, None] = {}
        self.down: dict[int, bool] = {}
        self.splits = chance.choice([0.0, 0.1, 0.5])
        self.joins = chance.choice([0.0, 0.5, 1.0])
        self.slow = chance.choice([0.05, 0.3, 1.0])
        self.accept: Callable[[int, ServerEnd], Receiver]

    def delay_s(self) -> float:
        """Return the time that bytes need now."""
        return SLOWEST_BYTES_S * self.slow * self.chance.random() ** 2

    def connect(
        self, number: int, client: ClientEnd, opened: Callable[[Link | None], None]
    ) -> None:
        """Open a connection; ``opened`` gets it later, or None if the address refuses it."""

        def open_now() -> None:
            refuses = self.down.get(number)
            if refuses is None:
                link = Link(self, number, client)
                self.links[link] = None
                opened(link)
            elif refuses:
                opened(None)

        self.clock.after(self.delay_s(), open_now)
