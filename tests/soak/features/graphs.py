"""Chords, conditions and single jobs that wait for others.

Invariants: a job receives the results in their order; a condition decides as the jobs ended.
"""

from tests.soak.features.base import Feature
from zoolet.jobs import Dispatcher, Job, JobRequest, JobState, When


class Graphs(Feature):
    """See the docstring of the module."""

    def use(self, dispatcher: Dispatcher) -> None:
        numbers = [self.chance.randrange(1000) for _ in range(self.chance.randint(1, 6))]
        fails = [self.chance.random() < 0.1 for _ in numbers]
        squares = [
            JobRequest(
                "feature_tasks:square",
                parameters={"n": n, "fails": bad},
                max_attempts=1 if bad else 10,
            )
            for n, bad in zip(numbers, fails, strict=True)
        ]
        first = self.submit(dispatcher, squares)
        when = self.chance.choice([*When])
        task = "total" if when is When.ALL_SUCCEEDED else "received"
        request = JobRequest(f"feature_tasks:{task}", max_attempts=10)
        second = self.submit(dispatcher, [request], after=first, when=when, receive="results")
        last = self.submit(
            dispatcher,
            [JobRequest("feature_tasks:received", max_attempts=10)],
            after=second.names,
            receive="results",
        )
        jobs = self.results(first)
        for job, n, bad in zip(jobs, numbers, fails, strict=True):
            self.expect(job, n * n, "this square fails" if bad else None)
        [middle], [end] = self.results(second), self.results(last)
        self._check(jobs, middle, when)
        successful = middle.state is JobState.SUCCESSFUL
        self.expect(end, [middle.result if successful else None])
        self.count(f"condition {when}")

    def _check(self, jobs: list[Job], job: Job, when: When) -> None:
        failed = [one.state is JobState.FAILED for one in jobs]
        is_skipped = job.last_error.startswith("skipped: ")
        starts = {
            When.ALL_ENDED: True,
            When.ALL_SUCCEEDED: not any(failed),
            When.ONE_FAILED: any(failed),
        }[when]
        if is_skipped is starts:
            self.problem(f"{job.name} ({when}) is {job.state} {job.last_error} after {failed}")
        if is_skipped:
            return
        results = [None if bad else one.result for one, bad in zip(jobs, failed, strict=True)]
        if when is When.ONE_FAILED and job.state is JobState.SUCCESSFUL:
            # Some of the others may have ended after the start of the job.
            pairs = zip(job.result, results, strict=True)
            if any(got not in {None, wanted} for got, wanted in pairs):
                self.problem(f"{job.name} received {job.result}, not {results}")
            return
        self.expect(job, sum(n or 0 for n in results) if when is When.ALL_SUCCEEDED else results)
