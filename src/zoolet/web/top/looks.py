"""Reports of the servers of clusters, which all users of the page share.

Invariants: a server is asked only while somebody looks at the page, and at most every `FRESH_S`
seconds, however many users there are; a server that does not answer holds up no other page.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.model.addresses import Address
from zoolet.top.reports import Report
from zoolet.top.sources import Source

FRESH_S: Final = 2.0
"""The age up to which reports are shown again."""

COUNTING_S: Final = 1.0
"""The time between the two looks that a server without samples needs at first."""

MOST_SERVERS: Final = 20
"""Most servers of a cluster that are asked."""

_THREADS: Final = 40


class _Looks:
    """The servers of a cluster, and their last reports."""

    def __init__(self) -> None:
        self.sources: dict[Address, Source] = {}
        self.reports: list[Report] = []
        self.at_s = float("-inf")
        self.task: asyncio.Task[None] | None = None


class Busiest:
    """The reports of all clusters.

    Args:
        tls: the files for TLS to the servers; None for no encryption.
        now_s: the monotonic clock.
    """

    def __init__(self, tls: TlsFiles | None, now_s: Callable[[], float]) -> None:
        self._tls = tls
        self._now_s = now_s
        self._clusters: dict[str, _Looks] = {}
        self._threads = ThreadPoolExecutor(_THREADS, "zoolet-web-top")

    async def reports(self, cluster: str, addresses: Sequence[Address]) -> list[Report]:
        """Return the reports of these servers of a cluster, in this order."""
        looks = self._clusters.setdefault(cluster, _Looks())
        if looks.task is None and self._now_s() - looks.at_s >= FRESH_S:
            looks.task = asyncio.create_task(self._look(looks, addresses[:MOST_SERVERS]))
        if looks.task is not None:
            # The task belongs to all who wait: it continues if one of them gives up.
            await asyncio.shield(looks.task)
        return looks.reports

    def close(self) -> None:
        """Ask no more."""
        for looks in self._clusters.values():
            if looks.task is not None:
                looks.task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look(self, looks: _Looks, addresses: Sequence[Address]) -> None:
        try:
            looks.sources = {
                address: looks.sources.get(address) or Source(address, self._tls)
                for address in addresses
            }
            sources = list(looks.sources.values())
            reports = await self._ask(sources)
            waiting = [number for number, report in enumerate(reports) if report.is_incomplete]
            if waiting:
                await asyncio.sleep(COUNTING_S)
                again = await self._ask([sources[number] for number in waiting])
                for number, report in zip(waiting, again, strict=True):
                    reports[number] = report
            looks.reports = reports
            looks.at_s = self._now_s()
        finally:
            looks.task = None

    async def _ask(self, sources: Sequence[Source]) -> list[Report]:
        loop = asyncio.get_running_loop()
        asked = [loop.run_in_executor(self._threads, source.look) for source in sources]
        return list(await asyncio.gather(*asked))
