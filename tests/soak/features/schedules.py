"""Schedules with intervals and cron expressions. Invariant: each due time has exactly one job."""

import time
from collections import Counter
from collections.abc import Iterator
from functools import partial

from tests.soak.features.base import AGAIN_S, Feature, Found
from zoolet.jobs import Dispatcher, JobRequest, Missed

CRON = "every-2-s"
CRON_MS = 2000


class Schedules(Feature):
    """See the docstring of the module."""

    pause_s = (1.0, 5.0)

    def prepare(self, dispatcher: Dispatcher) -> None:
        self._every_ms = {f"s{n}": self.chance.randrange(1200, 6000) for n in range(5)}
        self._start_ms: dict[str, int] = {}
        self._end_ms = 0
        for name in (*self._every_ms, CRON):
            added = dispatcher.schedules.add(
                name,
                JobRequest("feature_tasks:due", parameters={"schedule": name}, max_attempts=5),
                cron="*/2 * * * * *" if name == CRON else None,
                every_ms=self._every_ms.get(name),
                missed=Missed.ALL,
                missed_most=1000,
                grace_ms=2000,
                due_parameter="due_ms",
            )
            self._start_ms[name] = added.start_ms

    def use(self, dispatcher: Dispatcher) -> None:
        for listed in self.persist(dispatcher.schedules.all):
            if listed.schedule is None:
                self.problem(f"the schedule {listed.name} cannot be read")
        self.count("looks")

    def settle(self, dispatcher: Dispatcher) -> None:
        self._end_ms = self.persist(dispatcher.queue.server_time_ms)
        last = {name: max(self._due_ms(name)) for name in self._start_ms}

        def is_handled() -> bool:
            return all(
                dispatcher.schedules.get(name).last_due_ms >= due_ms
                for name, due_ms in last.items()
            )

        while not self.persist(is_handled):
            self.check_time()
            time.sleep(AGAIN_S)
        for name in self._start_ms:
            self.persist(partial(dispatcher.schedules.pause, name))

    def _due_ms(self, name: str) -> range:
        start_ms = self._start_ms[name]
        if name == CRON:
            return range(start_ms // CRON_MS * CRON_MS + CRON_MS, self._end_ms + 1, CRON_MS)
        every_ms = self._every_ms[name]
        return range(start_ms + every_ms, self._end_ms + 1, every_ms)

    def problems(self, found: Found) -> Iterator[str]:
        jobs: Counter[tuple[str, int]] = Counter()
        for standings in found.history.jobs.values():
            parameters = standings[0].values.get("parameters") or {}
            if "schedule" in parameters:
                jobs[parameters["schedule"], parameters["due_ms"]] += 1
        expected = {(name, at_ms) for name in self._start_ms for at_ms in self._due_ms(name)}
        self.count("due times", len(expected))
        yield from (f"{due} has no job" for due in sorted(expected - jobs.keys()))
        yield from (f"{due} has {count} jobs" for due, count in jobs.items() if count > 1)
        early = {due for due in jobs if due[1] <= self._end_ms} - expected
        yield from (f"{due} is not a due time" for due in sorted(early))
