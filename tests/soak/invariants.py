"""What must hold of the history of a queue; each function returns what does not, as texts.

The functions are pure: they get what happened and look at no server, process or clock.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.soak.history import History, Standing
from tests.soak.plan import KINDS, BatchPlan, JobPlan
from tests.soak.processes import EXECUTORS
from tests.soak.runs import Run
from tests.soak.starvation import LATENESS_FACTOR, Lateness

UNSTARTED_KINDS = frozenset({"missing task", "broken data"})
"""Their attempts fail before the task is called, and are counted all the same."""
DISTURBED = re.compile(r"was lost|SIGKILL|watcher was killed|cancelled|expired")
"""Errors of attempts that the soak test itself ended."""
SKEW_MS = 50
"""A run is written and a txn is logged by two processes, each with its own reading of the clock."""
WINDOW_SHARE = 25
"""If the reply to "the task starts" is lost or late, because of a fault of the connection or a
freeze, a kill may come long after it, and before the first line that the task writes. So one
attempt without a line is no proof, but more than one for this number of kills is."""
START_MS = 200
"""A kill may also come between a record of "the task starts" and the first line. Up to six threads
and processes have their turns in this time, and each may wait for `LATE_MS` without a notice."""

_MOVES = {
    "": {"unowned", "deferred"},
    "deferred": {"deferred", "unowned", "done"},
    "unowned": {"owned", "deferred", "done"},
    "owned": {"owned", "unowned", "deferred", "done"},
    "done": {"unowned", "deferred"},
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What happened, as far as the checks need it.

    Attributes:
        history: the queue's, from the transaction log.
        runs: by the number of a job.
        plans: the batches that were submitted, by name.
        results: how often a follower got each job of a batch.
        kills: how many times processes with tasks were killed or frozen, or lost replies.
        ended_ms: when the process of a worker was killed or ended, by worker id.
        lateness: how long this machine ran nothing of the soak test.
    """

    history: History
    runs: Mapping[int, list[Run]]
    plans: Mapping[str, BatchPlan]
    results: Mapping[str, Counter[str]]
    kills: int = 0
    ended_ms: Mapping[str, int] = field(default_factory=dict)
    lateness: Lateness = field(default_factory=lambda: Lateness([]))

    @property
    def jobs(self) -> dict[int, JobPlan]:
        """The jobs that were planned, by number."""
        return {job.number: job for plan in self.plans.values() for job in plan.jobs}


def one_place(facts: Facts) -> list[str]:
    """A job is in exactly one place after every txn, and moves only as moves go."""
    problems = []
    for name, standings in facts.history.jobs.items():
        before = ""
        for standing in standings:
            if len(standing.places) != 1:
                problems.append(f"{name} is in {standing.places} at zxid {standing.zxid:#x}")
                break
            if standing.place not in _MOVES[before]:
                problems.append(f"{name} moved from {before!r} to {standing.place!r}")
            before = standing.place
    return problems


def all_ended(facts: Facts) -> list[str]:
    """Every job that was planned is in the queue, and every job in the queue is done."""
    found = {standings[0].job_id for standings in facts.history.jobs.values()}
    missing = [f"job {number} is nowhere" for number in facts.jobs if number not in found]
    left = [
        f"{name} is left in {standings[-1].place} as {standings[-1].state}"
        for name, standings in facts.history.jobs.items()
        if standings[-1].place != "done"
    ]
    return missing + left


def committed_once(facts: Facts) -> list[str]:
    """A result is committed once, is that of a run that returned, and is told to the batch once."""
    problems = []
    logged = Counter(name for names in facts.history.logged.values() for name in names)
    for name, standings in facts.history.jobs.items():
        entered = [
            now
            for before, now in zip([None, *standings], standings, strict=False)
            if now.place == "done" and (before is None or before.place != "done")
        ]
        done = [standing for standing in standings if standing.place == "done"]
        if len(done) != len(entered):
            problems.append(f"{name} was changed while it was done")
        successful = [standing for standing in entered if standing.state == "SUCCESSFUL"]
        if len(successful) > 1 or (successful and successful[0] is not standings[-1]):
            problems.append(f"{name} was SUCCESSFUL, and then something else")
        if logged[name] != len(entered):
            problems.append(f"{name} ended {len(entered)} times and is logged {logged[name]} times")
        for standing in successful:
            runs = facts.runs.get(standing.job_id, ())
            returned = {run.name for run in runs if run.has_returned}
            if not returned or (standing.run and standing.run not in returned):
                problems.append(f"{name} has the result of run {standing.run!r}: it never returned")
    for batch, seen in facts.results.items():
        twice = [name for name, count in seen.items() if count != 1]
        if twice:
            problems.append(f"a follower of {batch} got {twice} more than once")
        wanted = len({job.number for job in facts.plans[batch].jobs}) if batch in facts.plans else 0
        if len(seen) < wanted:
            problems.append(f"a follower of {batch} got {len(seen)} jobs of {wanted}")
    return problems


class Charge(NamedTuple):
    """An attempt that was counted: when, of which job, and the error that came with it.

    Its worker had recorded at ``running_ms`` that the task starts; None if it had not.
    """

    at_ms: int
    name: str
    error: str
    worker: str
    running_ms: int | None


def attempts_started(facts: Facts) -> list[str]:
    """An attempt is counted only for a task that had started."""
    problems: list[str] = []
    charges: dict[int, list[Charge]] = {}
    for name, standings in facts.history.jobs.items():
        running_ms: int | None = None
        for before, now in zip([None, *standings], standings, strict=False):
            counted = now.attempts - (0 if before is None else before.attempts)
            problems += _wrong_charge(name, before, now, counted)
            if counted > 0:
                worker = "" if before is None else before.worker or ""
                charge = Charge(now.at_ms, name, "".join(now.errors[-1:]), worker, running_ms)
                charges.setdefault(now.job_id, []).append(charge)
            if now.state != "RUNNING":
                running_ms = None
            elif running_ms is None:
                running_ms = now.at_ms
    unstarted = _unstarted(facts, charges)
    return problems + (unstarted if len(unstarted) > 1 + facts.kills // WINDOW_SHARE else [])


def _wrong_charge(name: str, before: Standing | None, now: Standing, counted: int) -> Iterator[str]:
    was_retried = before is not None and before.place == "done"
    if was_retried and before is not None and before.state != "FAILED":
        yield f"{name} left done as {before.state}"
    if counted < 0 and not was_retried:
        yield f"{name} has {-counted} attempts less than before"
    if counted > 1 or (counted > 0 and (before is None or before.place != "owned")):
        yield f"{name} was charged {counted} attempts in {now.place}"


def _unstarted(facts: Facts, charges: dict[int, list[Charge]]) -> list[str]:
    """Return the first charge of each job before which its task had not started often enough.

    Charges of tasks that were about to start are left out, up to one for each executor.
    """
    plans = facts.jobs
    found = []
    about_to_start: dict[tuple[str, int], list[str]] = defaultdict(list)
    for job_id, charged in charges.items():
        if job_id in plans and plans[job_id].kind in UNSTARTED_KINDS:
            continue
        started = [run.started_ms for run in facts.runs.get(job_id, ())]
        needed = 0
        for charge in sorted(charged, key=lambda one: one.at_ms):
            had_started = sum(start <= charge.at_ms + SKEW_MS for start in started)
            if had_started > needed:
                needed += 1
                continue
            text = (
                f"{charge.name} was charged attempt {needed + 1}, and its task had started"
                f" {had_started} times: {charge.error}"
            )
            end_ms = min(charge.at_ms, facts.ended_ms.get(charge.worker, charge.at_ms))
            if not _was_about_to_start(facts, charge, end_ms):
                found.append(text)
                break
            about_to_start[charge.worker, end_ms].append(text)
    too_many = (texts for texts in about_to_start.values() if len(texts) > EXECUTORS)
    return [*found, *(text for texts in too_many for text in texts)]


def _was_about_to_start(facts: Facts, charge: Charge, end_ms: int) -> bool:
    """Say whether a worker or a task's process was killed just after the start was recorded."""
    if charge.running_ms is None:
        return False
    late_ms = facts.lateness.between(charge.running_ms, end_ms)
    return end_ms - charge.running_ms <= START_MS + LATENESS_FACTOR * late_ms


def ended_as_planned(facts: Facts) -> list[str]:
    """A job ends as its kind does, unless the test disturbed it."""
    problems = []
    plans = facts.jobs
    for name, standings in facts.history.jobs.items():
        last = standings[-1]
        plan = plans.get(last.job_id)
        if plan is None or last.place != "done":
            continue
        kind = KINDS[plan.kind]
        if last.state == "SUCCESSFUL" and kind.error is not None and kind.is_certain:
            problems.append(f"{name} ({plan.kind}) is SUCCESSFUL")
        for error in last.errors:
            is_expected = kind.error is not None and re.search(kind.error, error)
            if not is_expected and not DISTURBED.search(error):
                problems.append(f"{name} ({plan.kind}) failed with: {error}")
    return problems


def all_checks(facts: Facts) -> Iterable[tuple[str, list[str]]]:
    """Yield each check's name and what it found."""
    for check in (one_place, all_ended, committed_once, attempts_started, ended_as_planned):
        yield check.__name__.replace("_", " "), check(facts)
