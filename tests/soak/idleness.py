"""Whether an executor was idle while a job was ready and the server was reachable.

Works on times only: intervals in ms since the epoch, half open. A job is ready while it may be
started and its task does not run, whether nobody owns it or a worker that is alive does. An
executor is idle if its process is alive and runs no task. One that has no process any more shows in
this: fewer processes than the worker has executors run any task for that long.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.soak.history import History, Standing
from tests.soak.processes import EXECUTORS, WorkerProcess
from tests.soak.runs import Run
from tests.soak.starvation import LATENESS_FACTOR, Lateness

LIMIT_MS = 5000
SETTLE_MS = 3000
"""How long after a disturbance connections are made again and sessions end."""
SEEN_EVERY_MS = 2000
"""A process that was not seen for this long has ended."""
STEP_MS = 500
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
    work = _work(observed)
    for worker_id, life in observed.history.workers.items():
        worker = by_pid.get(life.pid)
        if worker is None:
            continue
        end = min(life.deleted_ms or _FOREVER, worker.ended_ms or _FOREVER, observed.until_ms)
        end = min(end, worker.stop_asked_ms or _FOREVER)
        own = [Interval(life.created_ms, end)] if life.created_ms < end else []
        looked_at = _common(without(own, _disturbed(worker, away)), ready_times)
        for interval in _idle(observed, work.get(worker.tag, {}), looked_at):
            waited = [name for b, e, name in ready if b < interval.end and e > interval.begin]
            problems.append(
                f"an executor of {worker.tag} ({worker_id}) was idle for"
                f" {interval.end - interval.begin} ms from {interval.begin} on while"
                f" {len(waited)} jobs were ready, such as {waited[:3]}"
            )
    return problems


Work = Mapping[int, Sequence[Interval]]
"""When the tasks of a worker ran, by the process that they ran in."""


def _idle(observed: Observed, work: Work, looked_at: Sequence[Interval]) -> Iterator[Interval]:
    """Yield times that are too long in which an executor of a worker did nothing."""
    for pid, runs in work.items():
        alive = Interval(runs[0].begin, observed.last_seen_ms.get(pid, 0))
        for gap in _common(without(union([alive]), union(runs)), looked_at):
            if _is_too_long(observed, gap):
                yield gap
    for whole in looked_at:
        begin = whole.begin
        while begin < whole.end:
            window = _long_window(observed, Interval(begin, whole.end))
            if window is None:
                break
            busy = [
                pid
                for pid, runs in work.items()
                if any(run.begin < window.end and run.end > window.begin for run in runs)
            ]
            if len(busy) < EXECUTORS:
                yield window
                break
            begin += STEP_MS


def _is_too_long(observed: Observed, interval: Interval) -> bool:
    late_ms = observed.lateness.between(interval.begin, interval.end)
    return interval.end - interval.begin - LATENESS_FACTOR * late_ms > LIMIT_MS


def _long_window(observed: Observed, interval: Interval) -> Interval | None:
    """Return the beginning of an interval that is just too long to be idle; None if none is."""
    end = interval.begin + LIMIT_MS + 1
    while end <= interval.end:
        window = Interval(interval.begin, end)
        if _is_too_long(observed, window):
            return window
        end += STEP_MS
    return None


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


def _work(observed: Observed) -> dict[str, dict[int, list[Interval]]]:
    """Return when tasks ran, by the tag of the worker and by process, in order.

    A task that did not return nor raise ran until its job was moved, or its process ended.
    """
    moves: dict[int, list[int]] = {}
    for standings in observed.history.jobs.values():
        for standing in standings:
            if standing.place != "owned":
                moves.setdefault(standing.job_id, []).append(standing.at_ms)
    found: dict[str, dict[int, list[Interval]]] = {}
    runs = (run for some in observed.runs.values() for run in some)
    for run in sorted(runs, key=lambda run: run.started_ms):
        end = run.ended_ms
        if end is None:
            later = [at for at in moves.get(run.job_id, ()) if at >= run.started_ms]
            seen_ms = observed.last_seen_ms.get(run.pid, run.started_ms)
            end = min([*later, max(seen_ms, run.started_ms) + SEEN_EVERY_MS])
        interval = Interval(run.started_ms, end)
        found.setdefault(run.worker, {}).setdefault(run.pid, []).append(interval)
    return found


def _disturbed(worker: WorkerProcess, away: Sequence[Interval]) -> list[Interval]:
    frozen = [
        Interval(window.begin_ms, (window.end_ms or _FOREVER - SETTLE_MS) + SETTLE_MS)
        for window in worker.frozen.all
    ]
    return union([*away, *frozen])


def _common(some: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    return without(some, without([Interval(0, _FOREVER)], others))
