"""Samples of the figures of all servers, for the charts of the last hour.

Each server has a task of its own, so a server that does not answer holds up no other. Invariants:
the number of servers and of samples is bounded; a server that gives no answer has a sample without
values, which is a gap in the charts.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from zoolet.model.addresses import Address
from zoolet.web.charts import Series
from zoolet.web.servers.asking import Asker, AskError, NotAllowedError
from zoolet.web.servers.figures import Answered, merged, parse_mntr, parse_srvr

log = logging.getLogger(__name__)

INTERVAL_S: Final = 5.0
"""The time between two samples of a server."""

SPAN_S: Final = 3600.0
"""How long samples are kept."""

MOST_SERVERS: Final = 64
"""Most servers of all clusters that are sampled."""

SHORT_TIMEOUT_S: Final = 4.0
"""The time limit for an answer to mntr, srvr or wchs."""

FIELDS: Final = (
    "connections",
    "received",
    "avg_latency",
    "outstanding",
    "znodes",
    "data_bytes",
    "watches",
    "fsync_ms",
    "fsyncs",
)
"""The figures in each sample."""

Sample = tuple[float | None, ...]
"""The time in seconds since the epoch, then the values of `FIELDS`."""


@dataclass(slots=True)
class Sampled:
    """The samples of a server.

    Attributes:
        address: the address of its clients.
        samples: the samples of the last hour.
        answered: its last answer; None if the last one is missing.
        problem: why the last answer is missing or not complete; "" if it is complete.
    """

    address: Address
    samples: deque[Sample] = field(
        default_factory=lambda: deque(maxlen=int(SPAN_S / INTERVAL_S) + 1)
    )
    answered: Answered | None = None
    problem: str = "the page has not asked it yet"

    def series(self, name: str) -> Series:
        """Return a figure of the samples."""
        at = FIELDS.index(name) + 1
        return Series(str(self.address), [(each[0] or 0.0, each[at]) for each in self.samples])

    def rate(self, name: str, per: str = "") -> Series:
        """Return how much a counter grows in a second, or for each step of another counter.

        There is no value where the server was restarted, because its counters start at 0 again.
        """
        one, other = FIELDS.index(name) + 1, FIELDS.index(per) + 1 if per else 0
        return Series(str(self.address), list(_growth(self.samples, one, other)))


def _growth(
    samples: Iterable[Sample], one: int, other: int
) -> Iterator[tuple[float, float | None]]:
    before: Sample | None = None
    for sample in samples:
        value: float | None = None
        if before is not None:
            value = _quotient(before[one], sample[one], before[other], sample[other])
        yield sample[0] or 0.0, value
        before = sample


def _quotient(
    old: float | None, new: float | None, old_base: float | None, new_base: float | None
) -> float | None:
    if old is None or new is None or old_base is None or new_base is None:
        return None
    return (new - old) / (new_base - old_base) if new >= old and new_base > old_base else None


class Sampler:
    """Samples servers until it is closed.

    Args:
        asker: asks the servers.
        time_s: the clock of the system, in seconds since the epoch.
    """

    def __init__(self, asker: Asker, time_s: Callable[[], float]) -> None:
        self._asker = asker
        self._time_s = time_s
        self._clusters: dict[str, dict[Address, Sampled]] = {}
        self._tasks: dict[tuple[str, Address], asyncio.Task[None]] = {}

    def watch(self, cluster: str, addresses: Iterable[Address]) -> None:
        """Sample exactly these servers of a cluster from now on, as far as the limit allows."""
        known = self._clusters.setdefault(cluster, {})
        wanted = dict.fromkeys(addresses)
        for address in [address for address in known if address not in wanted]:
            del known[address]
            self._tasks.pop((cluster, address)).cancel()
        for address in wanted:
            if address not in known and len(self._tasks) < MOST_SERVERS:
                known[address] = Sampled(address)
                task = asyncio.create_task(self._sample(known[address]))
                self._tasks[cluster, address] = task

    def servers(self, cluster: str) -> list[Sampled]:
        """Return the servers of a cluster, in the order in which they were named."""
        return list(self._clusters.get(cluster, {}).values())

    def close(self) -> None:
        """End all tasks."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    async def _sample(self, sampled: Sampled) -> None:
        while True:
            try:
                await self._take(sampled)
            except Exception:  # a server may answer anything; the next sample is independent
                log.exception("%s: the sample failed", sampled.address)
                sampled.answered = None
                sampled.problem = "its answer cannot be read: see the log of the page"
            await asyncio.sleep(INTERVAL_S)

    async def _take(self, sampled: Sampled) -> None:
        """Ask for srvr and mntr; one of them is enough for a sample."""
        problems: list[AskError] = []
        found: Answered | None = None
        for word, parse in (("srvr", parse_srvr), ("mntr", parse_mntr)):
            try:
                text = await self._asker.text(sampled.address, word, SHORT_TIMEOUT_S)
            except AskError as error:
                problems.append(error)
                if not isinstance(error, NotAllowedError):
                    break
            else:
                answered = parse(text)
                found = answered if found is None else merged(found, answered)
        sampled.answered = found
        sampled.problem = "; ".join(map(str, problems))
        figures = {} if found is None else found.figures
        sampled.samples.append((self._time_s(), *(figures.get(name) for name in FIELDS)))
