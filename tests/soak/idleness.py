"""Whether an executor was idle while a job was ready and the server was reachable.

Works on times only: intervals in ms since the epoch, half open. A job is ready while it may be
started and its task does not run, whether nobody owns it or a worker that is alive does. An
executor is idle if its worker runs fewer tasks than it has executors.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.soak.history import History, Standing
from tests.soak.processes import EXECUTORS, WorkerProcess
from tests.soak.runs import Run
from tests.soak.starvation import Lateness

LIMIT_MS = 5000
SETTLE_MS = 3000
"""How long after a disturbance connections are made again and sessions end."""
SEEN_EVERY_MS = 2000
"""A process that was not seen for this long has ended."""
LATENESS_FACTOR = 2
"""A process that lost the processor needs time to take up its work."""
_FOREVER = 1 << 62


class Interval(NamedTuple):
    """From ``begin`` on, and before ``end``."""

    begin: int
    end: int


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the times that are in any of these, as intervals that do not touch."""
    found: list[Interval] = []
    for interval in sorted(i for i in intervals if i.begin < i.end):
        if found and interval.begin <= found[-1].end:
            found[-1] = Interval(found[-1].begin, max(found[-1].end, interval.end))
        else:
            found.append(interval)
    return found


def without(intervals: Sequence[Interval], removed: Sequence[Interval]) -> list[Interval]:
    """Return the times of the first that are not in the second; both are unions."""
    found = []
    position = 0
    for begin, end in intervals:
        while position < len(removed) and removed[position].end <= begin:
            position += 1
        at, current = begin, position
        while current < len(removed) and removed[current].begin < end:
            if removed[current].begin > at:
                found.append(Interval(at, removed[current].begin))
            at = max(at, removed[current].end)
            current += 1
        if at < end:
            found.append(Interval(at, end))
    return found


@dataclass(frozen=True, slots=True)
class Observed:
    """What the check looks at.

    Attributes:
        history: of the queue.
        runs: by the number of a job.
        workers: all worker processes.
        away: when the server was not reachable, or nobody was allowed to take jobs.
        last_seen_ms: when processes with a tag were seen last, by number.
        lateness: how long this machine ran nothing of the soak test.
        until_ms: when the test asked the workers to stop.
    """

    history: History
    runs: dict[int, list[Run]]
    workers: Sequence[WorkerProcess]
    away: Sequence[Interval]
    last_seen_ms: Mapping[int, int]
    lateness: Lateness
    until_ms: int


def idle_executors(observed: Observed) -> list[str]:
    """Return a text for each executor that was idle for too long."""
    problems = []
    ready = list(_ready(observed))
    ready_times = union(Interval(begin, end) for begin, end, _ in ready)
    away = union(Interval(i.begin, i.end + SETTLE_MS) for i in observed.away)
    by_pid = {worker.pid: worker for worker in observed.workers}
    ends = _ends_of_runs(observed)
    for worker_id, life in observed.history.workers.items():
        worker = by_pid.get(life.pid)
        if worker is None:
            continue
        end = min(life.deleted_ms or _FOREVER, worker.ended_ms or _FOREVER, observed.until_ms)
        end = min(end, worker.stop_asked_ms or _FOREVER)
        own = [Interval(life.created_ms, end)] if life.created_ms < end else []
        busy = _all_busy(ends.get(worker.tag, []))
        for interval in _common(without(without(own, busy), _disturbed(worker, away)), ready_times):
            late_ms = observed.lateness.between(interval.begin, interval.end)
            idle_ms = interval.end - interval.begin - LATENESS_FACTOR * late_ms
            if idle_ms > LIMIT_MS:
                waited = [
                    name for begin, e, name in ready if begin < interval.end and e > interval.begin
                ]
                problems.append(
                    f"an executor of {worker.tag} ({worker_id}) was idle for {idle_ms} ms from"
                    f" {interval.begin} on while {len(waited)} jobs were ready, such as"
                    f" {waited[:3]}"
                )
    return problems


def _ready(observed: Observed) -> Iterator[tuple[int, int, str]]:
    """Yield when jobs were ready, and their names."""
    by_pid = {worker.pid: worker for worker in observed.workers}
    for name, standings in observed.history.jobs.items():
        for number, standing in enumerate(standings):
            following = standings[number + 1] if number + 1 < len(standings) else None
            end = observed.until_ms if following is None else following.at_ms
            begin = standing.at_ms
            if standing.place in {"unowned", "deferred"}:
                begin = max(begin, standing.not_before_ms, _released_ms(observed.history, standing))
            elif standing.place == "owned" and standing.state == "STAGING":
                starts = [run.started_ms for run in observed.runs.get(standing.job_id, ())]
                end = min([end, *(start for start in starts if start >= begin)])
                for interval in _in_good_hands(observed, by_pid.get, standing, end):
                    yield *interval, name
                continue
            else:
                continue
            if begin < end:
                yield begin, end, name


def _released_ms(history: History, standing: Standing) -> int:
    """Return from when on a job's batch did not wait for another one."""
    if standing.held_by is None:
        return 0
    times = history.chains.get(standing.held_by, [])
    # Created, then deleted.
    return times[-1] if len(times) > 1 else _FOREVER


def _in_good_hands(
    observed: Observed,
    worker_of: Callable[[int], WorkerProcess | None],
    standing: Standing,
    end: int,
) -> list[Interval]:
    """Return when the owner of a job was alive, not frozen, and not asked to stop."""
    life = observed.history.workers.get(standing.worker or "")
    worker = None if life is None else worker_of(life.pid)
    if life is None or worker is None:
        return []
    ends = (end, life.deleted_ms, worker.ended_ms, worker.stop_asked_ms)
    end = min(at for at in ends if at is not None)
    return without(union([Interval(standing.at_ms, end)]), _disturbed(worker, ()))


def _ends_of_runs(observed: Observed) -> dict[str, list[Interval]]:
    """Return when tasks ran, by the tag of the worker.

    A task that did not return nor raise ran until its job was moved, or its process ended.
    """
    moves: dict[int, list[int]] = {}
    for standings in observed.history.jobs.values():
        for standing in standings:
            if standing.place != "owned":
                moves.setdefault(standing.job_id, []).append(standing.at_ms)
    found: dict[str, list[Interval]] = {}
    for runs in observed.runs.values():
        for run in runs:
            end = run.ended_ms
            if end is None:
                later = [at for at in moves.get(run.job_id, ()) if at >= run.started_ms]
                seen_ms = observed.last_seen_ms.get(run.pid, run.started_ms)
                end = min([*later, max(seen_ms, run.started_ms) + SEEN_EVERY_MS])
            found.setdefault(run.worker, []).append(Interval(run.started_ms, end))
    return found


def _all_busy(runs: Sequence[Interval]) -> list[Interval]:
    """Return when all executors of a worker ran a task."""
    changes = sorted([*((i.begin, 1) for i in runs), *((i.end, -1) for i in runs)])
    found = []
    count = 0
    begin = 0
    for at, change in changes:
        if count < EXECUTORS <= count + change:
            begin = at
        elif count >= EXECUTORS > count + change:
            found.append(Interval(begin, at))
        count += change
    return union(found)


def _disturbed(worker: WorkerProcess, away: Sequence[Interval]) -> list[Interval]:
    frozen = [
        Interval(window.begin_ms, (window.end_ms or _FOREVER - SETTLE_MS) + SETTLE_MS)
        for window in worker.frozen.all
    ]
    return union([*away, *frozen])


def _common(some: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    return without(some, without([Interval(0, _FOREVER)], others))
