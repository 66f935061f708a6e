"""The sessions of a cluster, from cons of all servers and dump of one; the paths of a session.

Visitors at the same time share one reading, and a reading is used for some seconds. Invariants: the
number of sessions in memory is bounded; a server that does not answer leaves its sessions out, and
the list says so.
"""

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from zoolet.client.connecting.answer_lines import (
    ConnectedSession,
    DumpLine,
    DumpReader,
    parse_connection,
    watched,
)
from zoolet.model.addresses import Address
from zoolet.web.servers.asking import Asker, AskError

MOST_SESSIONS: Final = 200_000
"""Most sessions of a cluster that the page reads."""

LONG_TIMEOUT_S: Final = 60.0
"""The time limit for an answer to cons, dump or wchc."""

FRESH_S: Final = 8.0
"""How long a reading is used."""

KEPT_S: Final = 120.0
"""How long a reading stays in memory."""

_AT_A_TIME: Final = 8
"""Long answers that are read at the same time, of all clusters."""


class Session(NamedTuple):
    """A session of the list.

    Attributes:
        id: the id, from 0 to 2**64 - 1.
        connected: the session with its connection; None if no server that answered has one.
        timeout_ms: the session timeout; 0 if it is not known.
        ephemerals: the number of its ephemerals; None if it is not known.
    """

    id: int
    connected: ConnectedSession | None
    timeout_ms: int
    ephemerals: int | None

    @property
    def name(self) -> str:
        """The id as text."""
        return f"{self.id:#x}"

    def value(self) -> dict[str, Any]:
        """Return the session for JSON."""
        found = self.connected
        more = {} if found is None else {**found._asdict(), "latencies_ms": found.latencies_ms}
        return {
            **more,
            "id": self.name,
            "is_connected": found is not None,
            "timeout_ms": self.timeout_ms,
            "ephemerals": self.ephemerals,
        }


@dataclass(slots=True)
class Reading:
    """What the servers have answered.

    Attributes:
        read_s: when the reading began, on the monotonic clock.
        sessions: the sessions by their ids.
        problems: why some of the sessions or figures are missing.
    """

    read_s: float
    sessions: dict[int, Session] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


ORDERS: Final[dict[str, Callable[[Session], Any]]] = {
    "ephemerals": lambda session: -(session.ephemerals or 0),
    "received": lambda session: -(session.connected.received if session.connected else -1),
    "latency": lambda session: -(session.connected.latencies_ms[3] if session.connected else -1),
    "since": lambda session: session.connected.since_ms if session.connected else 1 << 63,
    "address": lambda session: session.connected.address if session.connected else "\uffff",
    "id": lambda session: session.id,
}
"""The orders of the list: the key of a session in each."""


class Paths(NamedTuple):
    """A part of the paths of a session.

    Attributes:
        total: the number of all of them, as far as the answers were read.
        paths: the paths from the wanted position on.
        problems: why paths are missing.
    """

    total: int
    paths: list[str]
    problems: list[str]


class Sessions:
    """Reads sessions; `Asker` asks the servers, ``now_s`` is the monotonic clock."""

    def __init__(self, asker: Asker, now_s: Callable[[], float]) -> None:
        self._asker = asker
        self._now_s = now_s
        self._readings: OrderedDict[str, Reading] = OrderedDict()
        self._running: dict[str, asyncio.Task[Reading]] = {}
        self._gate = asyncio.Semaphore(_AT_A_TIME)

    async def reading(self, cluster: str, servers: Sequence[Address]) -> Reading:
        """Return the sessions of a cluster."""
        found = self._readings.get(cluster)
        if found is not None and self._now_s() - found.read_s < FRESH_S:
            return found
        task = self._running.get(cluster)
        if task is None:
            task = asyncio.create_task(self._read(cluster, servers))
            self._running[cluster] = task
            task.add_done_callback(lambda _: self._running.pop(cluster, None))
        return await asyncio.shield(task)

    def forget_old(self) -> None:
        """Forget readings that nobody has asked for lately."""
        now_s = self._now_s()
        for cluster in [
            name for name, one in self._readings.items() if now_s - one.read_s > KEPT_S
        ]:
            del self._readings[cluster]

    def close(self) -> None:
        """End all readings."""
        for task in list(self._running.values()):
            task.cancel()

    async def ephemerals(
        self, servers: Sequence[Address], session_id: int, start: int, count: int
    ) -> Paths:
        """Return ephemerals of a session, from the first server that answers dump."""
        problems: list[str] = []
        for address in servers:
            found = _Window(start, count)
            try:
                await self._ephemerals_of(address, session_id, found)
            except AskError as error:
                problems.append(str(error))
                if found.total:
                    return Paths(found.total, found.paths, problems)
            else:
                return Paths(found.total, found.paths, [])
        return Paths(0, [], problems)

    async def watches(self, server: Address, session_id: int, start: int, count: int) -> Paths:
        """Return the paths that a session watches, from the server that has its connection."""
        found = _Window(start, count)
        problems: list[str] = []
        try:
            async with self._gate, aclosing(self._long(server, "wchc")) as parts:
                is_own = False
                async for lines in parts:
                    for line in lines:
                        other, path = watched(line)
                        if other:
                            if is_own:
                                return Paths(found.total, found.paths, problems)
                            is_own = other == session_id
                        elif is_own and path:
                            found.add(path)
        except AskError as error:
            problems.append(str(error))
        return Paths(found.total, found.paths, problems)

    async def _ephemerals_of(self, address: Address, session_id: int, found: "_Window") -> None:
        reader, is_own = DumpReader(), False
        async with self._gate, aclosing(self._long(address, "dump")) as parts:
            async for lines in parts:
                for kind, other, path in reader.read(lines):
                    if kind is DumpLine.OWNER:
                        if is_own:
                            return
                        is_own = other == session_id
                    elif kind is DumpLine.EPHEMERAL and is_own:
                        found.add(path)

    def _long(self, address: Address, word: str) -> AsyncGenerator[list[str], None]:
        return self._asker.lines(address, word, LONG_TIMEOUT_S)

    async def _read(self, cluster: str, servers: Sequence[Address]) -> Reading:
        made = Reading(self._now_s())
        await asyncio.gather(*(self._connected(address, made) for address in servers))
        await self._owners(servers, made)
        if len(made.sessions) >= MOST_SESSIONS:
            made.problems.append(f"the page reads up to {MOST_SESSIONS:,} sessions")
        self._readings[cluster] = made
        return made

    async def _connected(self, address: Address, made: Reading) -> None:
        server = str(address)
        try:
            async with self._gate, aclosing(self._long(address, "cons")) as parts:
                async for lines in parts:
                    for line in lines:
                        found = parse_connection(line, server)
                        if found is not None:
                            session = Session(found.id, found, found.timeout_ms, None)
                            made.sessions[found.id] = session
                    if len(made.sessions) >= MOST_SESSIONS:
                        return
        except AskError as error:
            made.problems.append(str(error))

    async def _owners(self, servers: Sequence[Address], made: Reading) -> None:
        """Add the numbers of ephemerals, and the sessions without a connection."""
        problems: list[str] = []
        for address in servers:
            counts: dict[int, int] = {}
            timeouts: dict[int, int] = {}
            try:
                await self._count(address, counts, timeouts)
            except AskError as error:
                problems.append(str(error))
                continue
            await _add_counts(made, counts, timeouts)
            return
        made.problems += problems

    async def _count(
        self, address: Address, counts: dict[int, int], timeouts: dict[int, int]
    ) -> None:
        reader, owner = DumpReader(), 0
        async with self._gate, aclosing(self._long(address, "dump")) as parts:
            async for lines in parts:
                for kind, session_id, text in reader.read(lines):
                    if kind is DumpLine.EPHEMERAL:
                        counts[owner] = counts.get(owner, 0) + 1
                        continue
                    if len(timeouts) < MOST_SESSIONS:
                        timeouts.setdefault(session_id, int(text or 0))
                    owner = session_id if kind is DumpLine.OWNER else 0


_STEP: Final = 2000


async def _add_counts(made: Reading, counts: dict[int, int], timeouts: dict[int, int]) -> None:
    for number, session_id in enumerate([*made.sessions, *(timeouts.keys() - made.sessions)]):
        if number % _STEP == 0:
            await asyncio.sleep(0)
        found = made.sessions.get(session_id)
        if found is None and len(made.sessions) >= MOST_SESSIONS:
            break
        connected = None if found is None else found.connected
        timeout_ms = timeouts.get(session_id, 0) if found is None else found.timeout_ms
        made.sessions[session_id] = Session(
            session_id, connected, timeout_ms, counts.get(session_id, 0)
        )


class _Window:
    """Counts paths, and keeps those of one page."""

    def __init__(self, start: int, count: int) -> None:
        self.total = 0
        self.paths: list[str] = []
        self._start = start
        self._count = count

    def add(self, path: str) -> None:
        if self._start <= self.total < self._start + self._count:
            self.paths.append(path)
        self.total += 1


def selected(
    sessions: Iterable[Session], filter_text: str, order: str, start: int, count: int
) -> tuple[int, list[Session]]:
    """Return the number of sessions that a text selects, and a part of them in an order.

    It takes long for many sessions: call it in a thread. The text is searched in the id, the
    address of the client and the server.
    """
    text = filter_text.casefold()
    found = [each for each in sessions if not text or text in _searched(each)]
    first = heapq.nsmallest(start + count, found, key=lambda each: (ORDERS[order](each), each.id))
    return len(found), first[start:]


def _searched(session: Session) -> str:
    connected = session.connected
    more = "" if connected is None else f" {connected.address} {connected.server}"
    return f"{session.name}{more}".casefold()
