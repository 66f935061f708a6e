"""Rates of connections, from the differences of two answers to ``cons``. No I/O.

Apache ZooKeeper takes no samples, but it counts the frames of each connection. Source: Apache
ZooKeeper's ``ServerCnxn.dumpConnectionInfo``.
"""

import re
from collections import Counter, deque
from typing import Final, NamedTuple

from zoolet.top.reports import MOST_ROWS, Kind, Report, Row

WINDOW_S: Final = 60.0
"""A rate is about at most this time."""

_BETWEEN_S: Final = 10.0
"""The least time between two answers that are kept."""

_MOST_CHARACTERS: Final = 200
_NUMBER: Final = re.compile(r"[0-9]{1,19}")
_WORD: Final = re.compile(r"\w{0,20}")
_SESSION: Final = re.compile(r"0x[0-9a-f]{1,16}")


class Counted(NamedTuple):
    """A connection with a session.

    Attributes:
        session: the id of the session, as text.
        address: the address and port of the client.
        received: the number of frames that the server has received on the connection.
        last_operation: Apache ZooKeeper's short name of its last request.
    """

    session: str
    address: str
    received: int
    last_operation: str


def parse_connections(text: str) -> list[Counted]:
    """Return the connections with a session in an answer to cons."""
    found = []
    for line in text.split("\n"):
        before, _, listed = line.removesuffix(")").partition("](")
        address = before.rpartition("[")[0].strip().removeprefix("/")
        figures = {pair.partition("=")[0]: pair.partition("=")[2] for pair in listed.split(",")}
        session, received = figures.get("sid", ""), figures.get("recved", "")
        operation = figures.get("lop", "")
        if (
            _SESSION.fullmatch(session)
            and _NUMBER.fullmatch(received)
            and _WORD.fullmatch(operation)
            and 0 < len(address) <= _MOST_CHARACTERS
        ):
            found.append(Counted(session, address, int(received), operation))
    return found


class Differences:
    """Answers of the last minute, and the rates since the oldest of them."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, dict[tuple[str, str], int]]] = deque()

    def add(self, server: str, note: str, connections: list[Counted], now_s: float) -> Report:
        """Add an answer; return the rates, or an incomplete report after the first one."""
        kept = self._kept
        if kept and kept[-1][0] > now_s:  # the clock was set back
            kept.clear()
        # The newest of the answers that are older than the window stays: so there is always one.
        while len(kept) > 1 and kept[1][0] <= now_s - WINDOW_S:
            kept.popleft()
        counts = {(one.session, one.address): one.received for one in connections}
        before_s, before = kept[0] if kept else (now_s, {})
        if not kept or now_s - kept[-1][0] >= _BETWEEN_S:
            kept.append((now_s, counts))
        if now_s <= before_s:
            return Report(server, note=note, is_incomplete=True)
        return _report(server, note, connections, before, now_s - before_s)


def _report(
    server: str,
    note: str,
    connections: list[Counted],
    before: dict[tuple[str, str], int],
    over_s: float,
) -> Report:
    clients: list[tuple[int, Counted]] = []
    addresses: Counter[str] = Counter()
    for one in connections:
        since = before.get((one.session, one.address), 0)
        # A smaller count than before: crst has set it to 0.
        requests = one.received - since if one.received >= since else one.received
        if requests:
            clients.append((requests, one))
            addresses[one.address.rpartition(":")[0]] += requests
    clients.sort(key=lambda pair: (-pair[0], pair[1]))
    first = sorted(addresses.items(), key=lambda pair: (-pair[1], pair[0]))
    return Report(
        server,
        Kind.COUNTERS,
        note,
        covered_s=round(over_s, 2),
        total=_rate(addresses.total(), over_s),
        tables={
            "clients": [
                {
                    "session": one.session,
                    "address": one.address,
                    "last_operation": one.last_operation,
                    **_rate(requests, over_s),
                }
                for requests, one in clients[:MOST_ROWS]
            ],
            "addresses": [
                {"address": address, **_rate(requests, over_s)}
                for address, requests in first[:MOST_ROWS]
            ],
        },
    )


def _rate(requests: int, over_s: float) -> Row:
    return {"requests_per_s": round(requests / over_s, 2)}
