"""Async tasks, of which an executor runs several at a time, and batched tasks.

Invariants: each job has its own result or error; tasks of one process have run at the same time;
one call has got several jobs, in a worker that runs several at a time, and only there.
"""

from collections.abc import Iterator, Sequence

from tests.soak import feature_tasks as tasks
from tests.soak.features.base import ASYNC, Feature, Found
from zoolet.jobs import Dispatcher

CONCURRENCY = 4
ENOUGH = 60
"""The runs after which some must have been at the same time."""


class AsyncTasks(Feature):
    """Users of tasks that are ``async def``."""

    def options(self, kind: str) -> Sequence[str]:
        if kind != ASYNC:
            return ()
        return ("--tag", "async", "--async-concurrency", str(CONCURRENCY))

    def use(self, dispatcher: Dispatcher) -> None:
        numbers = [self.chance.randrange(10**6) for _ in range(self.chance.randint(1, 12))]
        requests = [tasks.nap.request(n, round(self.chance.uniform(0, 0.4), 3)) for n in numbers]
        for job, number in zip(
            self.results(self.submit(dispatcher, requests)), numbers, strict=True
        ):
            self.expect(job, number)

    def problems(self, found: Found) -> Iterator[str]:
        del found
        lines = self.stage.lines("naps")
        running: dict[int, int] = {}
        most = 0
        for line in lines:
            pid = line["pid"]
            running[pid] = running.get(pid, 0) + (1 if line["what"] == "started" else -1)
            most = max(most, running[pid])
        if len(lines) > ENOUGH and most < 2:
            yield f"of {len(lines)} starts and ends of async tasks, none were at the same time"


class BatchedTasks(Feature):
    """Users of tasks that get several jobs in one call."""

    def use(self, dispatcher: Dispatcher) -> None:
        items = [self.chance.randrange(-3, 30) for _ in range(self.chance.randint(1, 30))]
        batch = self.submit(dispatcher, [tasks.squares.request(item) for item in items])
        for job, item in zip(self.results(batch), items, strict=True):
            self.expect(job, item * item, f"negative {item}" if item < 0 else None)

    def problems(self, found: Found) -> Iterator[str]:
        del found
        counts: dict[bool, list[int]] = {True: [], False: []}
        for line in self.stage.lines("squares"):
            counts[str(line["worker"]).startswith(ASYNC)].append(line["count"])
        if len(counts[True]) > ENOUGH and max(counts[True]) < 2:
            yield f"in {len(counts[True])} calls, a batched task never got two jobs"
        if max(counts[False], default=1) > 1:
            yield f"a worker without --async-concurrency got {max(counts[False])} jobs in a call"
