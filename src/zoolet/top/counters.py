"""Rates of connections, from the differences of two answers to ``cons``. No I/O.

Apache ZooKeeper takes no samples, but it counts the frames of each connection. Source: Apache
ZooKeeper's ``ServerCnxn.dumpConnectionInfo``.
"""

from collections import Counter, deque
from typing import Final

from zoolet.client.connecting.answer_lines import ConnectedSession
from zoolet.top.reports import MOST_ROWS, Kind, Report, Row

WINDOW_S: Final = 60.0
"""A rate is about at most this time."""

_BETWEEN_S: Final = 10.0
"""The least time between two answers that are kept."""


class Differences:
    """Answers of the last minute, and the rates since the oldest of them."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, dict[tuple[int, str], int]]] = deque()

    def add(
        self, server: str, note: str, connections: list[ConnectedSession], now_s: float
    ) -> Report:
        """Add an answer; return the rates, or an incomplete report after the first one."""
        kept = self._kept
        if kept and kept[-1][0] > now_s:  # the clock was set back
            kept.clear()
        # The newest of the answers that are older than the window stays: so there is always one.
        while len(kept) > 1 and kept[1][0] <= now_s - WINDOW_S:
            kept.popleft()
        counts = {(one.id, one.address): one.received for one in connections}
        before_s, before = kept[0] if kept else (now_s, {})
        if not kept or now_s - kept[-1][0] >= _BETWEEN_S:
            kept.append((now_s, counts))
        if now_s <= before_s:
            return Report(server, note=note, is_incomplete=True)
        return _report(server, note, connections, before, now_s - before_s)


def _report(
    server: str,
    note: str,
    connections: list[ConnectedSession],
    before: dict[tuple[int, str], int],
    over_s: float,
) -> Report:
    clients: list[tuple[int, ConnectedSession]] = []
    addresses: Counter[str] = Counter()
    for one in connections:
        since = before.get((one.id, one.address), 0)
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
                    "session": f"{one.id:#x}",
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
