"""The addresses of the clients of sessions.

A reading of all sessions is expensive for a server with many of them, and the address of a session
seldom changes. So an answer is kept for a minute, also that the address is not known. Invariant:
the number of addresses in memory is bounded.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from zoolet.model.addresses import Address
from zoolet.web.servers.sessions import Sessions

KEPT_S: Final = 60.0
"""How long an address is used."""

MOST_KEPT: Final = 20_000
"""Most addresses in memory."""


class _Known(NamedTuple):
    read_s: float
    address: str
    problems: tuple[str, ...]


class Hosts:
    """Finds addresses with the sessions of the clusters; ``now_s`` is the monotonic clock."""

    def __init__(self, sessions: Sessions, now_s: Callable[[], float]) -> None:
        self._sessions = sessions
        self._now_s = now_s
        self._known: OrderedDict[tuple[str, int], _Known] = OrderedDict()

    async def addresses(
        self, cluster: str, servers: Sequence[Address], ids: Iterable[int]
    ) -> tuple[dict[int, str], list[str]]:
        """Return the addresses of sessions by their ids, and why some may be missing.

        The ids are from 1 to 2**64 - 1.
        """
        wanted = dict.fromkeys(ids)
        oldest_s = self._now_s() - KEPT_S
        known = {each: self._known.get((cluster, each)) for each in wanted}
        if any(found is None or found.read_s < oldest_s for found in known.values()):
            reading = await self._sessions.reading(cluster, servers)
            problems = tuple(dict.fromkeys(reading.problems))
            for each in wanted:
                session = reading.sessions.get(each)
                connected = None if session is None else session.connected
                address = "" if connected is None else connected.address
                made = _Known(reading.read_s, address, () if address else problems)
                known[each] = self._known[cluster, each] = made
            while len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)
        found = [(each, one) for each, one in known.items() if one is not None]
        missing = dict.fromkeys(text for _, one in found for text in one.problems)
        return {each: one.address for each, one in found if one.address}, list(missing)
