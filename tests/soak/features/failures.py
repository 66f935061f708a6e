"""Hooks and commands for FAILED jobs.

Invariants: each job that became FAILED, and was neither cancelled nor retried, has a call
with the time of its failure; each call is for such a failure; no note is left.
"""

import shlex
import time
from collections.abc import Iterator, Sequence

from tests.soak.features.base import AGAIN_S, BUSY, ROOT, Feature, Found
from tests.soak.history import History
from zoolet.jobs import Dispatcher, JobRequest


class FailureHooks(Feature):
    """Users of jobs that expire or are skipped; other features make jobs FAILED, too."""

    pause_s = (0.5, 2.0)

    def options(self, kind: str) -> Sequence[str]:
        if kind != BUSY:
            return ()
        file = self.stage.home / "features" / "commands"
        return ("--on-failure", shlex.join(["sh", "-c", 'cat >>"$0"', str(file)]))

    def use(self, dispatcher: Dispatcher) -> None:
        now_ms = self.persist(dispatcher.queue.server_time_ms)
        expires_ms = now_ms + self.chance.choice((-1, 200))
        requests = [JobRequest("feature_tasks:received", expires_ms=expires_ms)] * 2
        batch = self.submit(dispatcher, [*requests, JobRequest("no_module:f", max_attempts=1)])
        self.persist(lambda: dispatcher.queue.cancel(batch.names[2:]))
        self.results(batch)

    def settle(self, dispatcher: Dispatcher) -> None:
        wait_for_calls(self, dispatcher)

    def problems(self, found: Found) -> Iterator[str]:
        self.count("commands", len(self.stage.lines("commands")))
        yield from wrong_calls(self, found.history, ROOT)


def wait_for_calls(feature: Feature, dispatcher: Dispatcher) -> None:
    """Return when the hooks were called for all failures of a queue."""
    znodes = dispatcher.queue.layout.znodes
    path = znodes.path("failures")
    while len(left := feature.persist(lambda: znodes.children(path))) > 1:
        try:
            feature.check_time()
        except AssertionError:
            feature.problem(f"{len(left) - 1} notes of failures are left in {path}")
            return
        time.sleep(AGAIN_S)


def wrong_calls(feature: Feature, history: History, root: str) -> Iterator[str]:
    """Yield the failures in a queue for which no hook was called, and calls without a failure."""
    lines = [line for line in feature.stage.lines("failures") if line["queue"] == root]
    calls = {(line["job"], line["finished_ms"]) for line in lines}
    failures: set[tuple[str, int]] = set()
    needed: set[tuple[str, int]] = set()
    for name, standings in history.jobs.items():
        for one, after in zip(standings, [*standings[1:], None], strict=True):
            if one.place != "done" or one.state != "FAILED":
                continue
            failure = (name, one.values.get("finished_ms", 0))
            if one.errors[-1:] != ("it was cancelled",):
                failures.add(failure)
                if after is None or after.place == "":
                    needed.add(failure)
    feature.count("failures", len(failures))
    feature.count("calls", len(lines))
    yield from (f"no hook was called for the failure {one}" for one in sorted(needed - calls))
    yield from (f"a hook was called for {one}, which is none" for one in calls - failures)
