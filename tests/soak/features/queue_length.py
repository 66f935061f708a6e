"""The greatest number of waiting jobs, on a queue without workers.

Invariant: no more jobs wait than the limit permits, apart from those of a submission whose reply
was lost.
"""

from collections.abc import Iterator

from tests.soak.features.base import ROOT, Feature, Found
from zoolet.jobs import (
    BatchExistsError,
    BatchIncompleteError,
    Dispatcher,
    JobRequest,
    QueueFullError,
)

FULL = f"{ROOT}-full"
WAITING, BATCH = 20, 8


class QueueLength(Feature):
    """See the docstring of the module."""

    pause_s = (0.2, 1.0)
    roots = (FULL,)

    def prepare(self, dispatcher: Dispatcher) -> None:
        del dispatcher
        with Dispatcher(self.stage.hosts, FULL, create=True) as full:
            full.queue.configure(max_waiting_jobs=WAITING)

    def use(self, dispatcher: Dispatcher) -> None:
        del dispatcher
        with self.persist(lambda: Dispatcher(self.stage.hosts, FULL)) as full:
            size, name = self.chance.randint(1, BATCH), self.new_name()
            requests = [JobRequest("m:f")] * size
            waiting = self.persist(lambda: full.queue.counts()["unowned"])
            try:
                full.submit_batch(requests, name=name)
                self.count("submissions")
                if waiting + size > WAITING:
                    self.problem(f"{size} jobs were submitted although {waiting} waited")
            except QueueFullError:
                self.count("submissions that were refused")
                if waiting + size <= WAITING:
                    self.problem(f"{size} jobs were refused although {waiting} waited")
                names = [job.name for job in self.persist(full.queue.waiting)]
                self.persist(lambda: full.queue.cancel(names))
            except (TimeoutError, BatchExistsError, BatchIncompleteError):
                self.count("submissions whose outcome is not known")

    def problems(self, found: Found) -> Iterator[str]:
        changes = sorted(
            (standing.zxid, name, standing.place)
            for name, standings in found.histories[FULL].jobs.items()
            for standing in standings
        )
        waiting: set[str] = set()
        for zxid, name, place in changes:
            waiting.discard(name)
            if place in {"unowned", "deferred"}:
                waiting.add(name)
            if len(waiting) > WAITING + BATCH:
                yield f"{len(waiting)} jobs wait at zxid {zxid:#x}"
                return
