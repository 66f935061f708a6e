"""Workers that serve two queues: the features' queue, and one with a store of its own.

Invariants: each job ends with the result of its own queue, one time; large results are in the store
of the queue; a failure has a call of a hook with the path of its queue, also when the znode of a
worker in one of the queues is deleted.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from tests.soak import feature_tasks as tasks
from tests.soak.features.base import BUSY, ROOT, Feature, Found, Stage
from tests.soak.features.failures import wait_for_calls, wrong_calls
from zoolet.jobs import Dispatcher, JobRequest

OTHER = "/jobs/other"
STORE = "others"
LARGE = 150_000
PERCENT = 20


class SeveralQueues(Feature):
    """Users of both queues, one of whom deletes the znodes of workers."""

    pause_s = (0.2, 1.0)
    roots = (OTHER,)

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._stores = {STORE: f"sqlite:///{stage.home / 'others.db'}"}
        self._other: Dispatcher | None = None

    def options(self, kind: str) -> Sequence[str]:
        if kind != BUSY:
            return ()
        urls = [f"{name}={url}" for name, url in self._stores.items()]
        return (
            *("--queue", OTHER, "--weight", f"{ROOT}=3"),
            *(word for url in urls for word in ("--result-store-url", url)),
        )

    def prepare(self, dispatcher: Dispatcher) -> None:
        del dispatcher
        with Dispatcher(self.stage.hosts, OTHER, create=True) as other:
            other.queue.configure(result_store=STORE, oldest_share_percent=PERCENT)

    def use(self, dispatcher: Dispatcher) -> None:
        if self._other is None:
            self._other = self.persist(self._open)
        if self.chance.random() < 0.1:
            self._delete_a_worker(self._other)
        numbers = [self.chance.randrange(10**6) for _ in range(self.chance.randint(1, 10))]
        pairs = [(one, self._requests(numbers)) for one in (dispatcher, self._other)]
        batches = [self.submit(one, requests) for one, requests in pairs]
        for batch in batches:
            *jobs, text, failed = self.results(batch)
            for job, number in zip(jobs, numbers, strict=True):
                self.expect(job, number)
            self.expect(text, "x" * LARGE)
            self.expect(failed, error="this error is final")

    def settle(self, dispatcher: Dispatcher) -> None:
        del dispatcher
        if self._other is not None:
            wait_for_calls(self, self._other)
            self._other.close()

    def problems(self, found: Found) -> Iterator[str]:
        history = found.histories[OTHER]
        for name, standings in history.jobs.items():
            if standings[-1].place != "done":
                yield f"{name} of {OTHER} is left in {standings[-1].places}"
            states = Counter(one.state for one in standings)
            if states["SUCCESSFUL"] > 1:
                yield f"{name} of {OTHER} was SUCCESSFUL {states['SUCCESSFUL']} times"
        yield from wrong_calls(self, history, OTHER)

    def _open(self) -> Dispatcher:
        return Dispatcher(
            self.stage.hosts, OTHER, result_stores=self._stores, connect_timeout_ms=60_000
        )

    def _requests(self, numbers: Sequence[int]) -> list[JobRequest]:
        large: dict[str, Any] = {"size": LARGE, "n": self.chance.randrange(10**6)}
        return [
            *(tasks.plain.request(number) for number in numbers),
            JobRequest("feature_tasks:text", parameters=large, max_attempts=5),
            tasks.final.request(numbers[0]),
        ]

    def _delete_a_worker(self, other: Dispatcher) -> None:
        layout = other.queue.layout
        for worker in self.persist(layout.workers)[:1]:
            self.persist(partial(layout.znodes.delete, layout.worker(worker)))
            self.count("znodes of workers deleted")
