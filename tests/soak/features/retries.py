"""Retries of the FAILED jobs that a filter selects, also if the call is interrupted.

Invariant: each selected job is requeued one time, and then succeeds.
"""

import itertools
from collections.abc import Iterator
from functools import partial

from tests.soak import feature_tasks as tasks
from tests.soak.features.base import Feature, Found
from tests.soak.invariants import DISTURBED
from zoolet.jobs import Dispatcher, JobFilter, JobState


class RetriedSelections(Feature):
    """See the docstring of the module."""

    pause_s = (0.5, 2.0)

    def use(self, dispatcher: Dispatcher) -> None:
        name = self.new_name()
        requests = [tasks.repaired.request(name)] * self.chance.randint(1, 60)
        batch = self.submit(dispatcher, requests, name=name)
        for job in self.results(batch):
            self.expect(job, None, "not repaired yet")
        (self.stage.home / "features" / name).touch()
        selected = JobFilter(batch=name, error="not repaired yet")
        self.persist(partial(dispatcher.retry_failed, selected))
        self.count("retries")
        again = self.persist(lambda: dispatcher.batch(name))
        for job in self.results(again):
            if job.state is JobState.FAILED and "not repaired yet" in job.last_error:
                self.problem(f"{job.name} was not retried: {job.errors}")
            else:
                self.expect(job, name)

    def problems(self, found: Found) -> Iterator[str]:
        for name, standings in found.history.jobs.items():
            if standings[0].values.get("task") != "feature_tasks:repaired":
                continue
            before = [one for one, after in itertools.pairwise(standings)
                      if one.place == "done" and after.place not in {"done", ""}]  # fmt: skip
            disturbed = any(DISTURBED.search(error) for one in standings for error in one.errors)
            if len(before) > 1 and not disturbed:
                yield f"{name} was retried {len(before)} times"
