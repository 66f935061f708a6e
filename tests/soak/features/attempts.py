"""Decorated tasks with Retry, soft timeouts and final errors; tasks with tags; the memory limit.

Invariants: a job has the result of its task, or its own error, or an error that a fault made. A job
with a tag runs only on workers that have it. A task that uses too much memory fails.
"""

from collections.abc import Iterator, Sequence

from tests.soak import feature_tasks as tasks
from tests.soak.features.base import BUSY, Feature, Found
from zoolet.jobs import Dispatcher, JobRequest

MEMORY_MIB = 250


class Attempts(Feature):
    """See the docstring of the module."""

    def options(self, kind: str) -> Sequence[str]:
        if kind != BUSY:
            return ()
        return ("--tag", "gpu", "--attempt-memory-mib", str(MEMORY_MIB))

    def use(self, dispatcher: Dispatcher) -> None:
        chance, name = self.chance, self.new_name()
        requests: list[JobRequest] = []
        expected: list[tuple[object, str | None]] = []
        for position in range(chance.randint(1, 8)):
            number = chance.randrange(10**6)
            kind = chance.choices(range(6), (6, 3, 2, 2, 3, 0.4))[0]
            own = f"{name}-{position}"
            requests.append(
                (
                    lambda n=number: tasks.plain.request(n),
                    lambda n=number, o=own: tasks.again.request(o, 1 + n % 4),
                    lambda n=number: tasks.soft.request(n),
                    lambda n=number: tasks.final.request(n),
                    lambda n=number: tasks.on_gpu.request(n),
                    lambda: tasks.hungry.request(2 * MEMORY_MIB),
                )[kind]()
            )
            expected.append(
                (
                    (number, None),
                    (own, None),
                    (f"saved {number}", None),
                    (None, f"this error is final {number}"),
                    (number, None),
                    (None, "MiB of memory, more than the limit"),
                )[kind]
            )
        batch = self.submit(dispatcher, requests, name=name)
        for job, (result, error) in zip(self.results(batch), expected, strict=True):
            self.expect(job, result, error)

    def problems(self, found: Found) -> Iterator[str]:
        del found
        for line in self.stage.lines("gpu"):
            if not str(line["worker"]).startswith(BUSY):
                yield f"a job with the tag gpu ran on {line['worker']}"
