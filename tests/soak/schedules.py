"""Soak test of schedules: each due time has one job, whatever happens to workers and clocks.

Usage: python -m tests.soak.schedules [--seed N] [--seconds N] [--schedules N]. The seed chooses the
schedules, the change of daylight saving that the server's clock passes in the middle of the run,
and the faults: workers are killed and frozen, at times all of them. The wall clocks of workers are
an hour wrong, and move between both directions. Ends with status 1 if an invariant does not hold.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.support.jobs import ROOT, WorkerProcess, write_tasks
from tests.support.waiting import wait_until
from zoolet.jobs import Dispatcher, JobRequest, Missed
from zoolet.jobs.records.transitions import Place
from zoolet.testing import ServerProcess

ZONE = "Europe/Berlin"
CHANGES = (datetime(2027, 3, 28, 1, tzinfo=UTC), datetime(2027, 10, 31, 1, tzinfo=UTC))
"""The first hour of the first change is left out, the first of the second change occurs twice."""
HOUR_MS = 3_600_000
WORKERS = 3
EARLY_MS = 1000
"""A job must not end this long before its due time."""
SET_CLOCK = """
import os, time
_right_ns, _steady = time.time_ns, time.monotonic
_shift_ms, _swing_ms = int(os.environ["SHIFT_MS"]), int(os.environ["SWING_MS"])
def _wrong_ns():
    direction = 1 if int(_steady() / 20) % 2 else -1
    return _right_ns() + (_shift_ms + direction * _swing_ms) * 1_000_000
time.time_ns = _wrong_ns
time.time = lambda: _wrong_ns() / 1e9
"""


class ShiftedServer(ServerProcess):
    """A server whose clock is ahead by the ``SHIFT_MS`` of its environment."""

    def __init__(self, directory: Path, environment: Sequence[str]) -> None:
        super().__init__(directory)
        self._environment = environment

    def _command(self) -> Sequence[str]:
        return ["env", *self._environment, *super()._command()]


@dataclass(frozen=True)
class Planned:
    """A schedule of the run; ``seconds`` to ``hours`` are the matching numbers; None: an interval.

    If ``hours`` is None, the expression matches every hour, and follows the local time also in the
    hours of a change. Otherwise it has fixed times, of which each occurs one time on each day.
    """

    name: str
    every_ms: int = 0
    seconds: tuple[int, ...] | None = None
    minutes: tuple[int, ...] = ()
    hours: tuple[int, ...] | None = None

    @property
    def cron(self) -> str | None:
        """The cron expression; None for an interval."""
        if self.seconds is None:
            return None
        seconds = "" if self.seconds == (0,) else f"{','.join(map(str, self.seconds))} "
        step = self.minutes[1] - self.minutes[0] if self.hours is None else 0
        minutes = f"*/{step}" if step else ",".join(map(str, self.minutes))
        hours = "*" if self.hours is None else ",".join(map(str, self.hours))
        return f"{seconds}{minutes} {hours} * * *"

    def due_ms(self, start_ms: int, until_ms: int) -> list[int]:
        """Return the due times after the start of the schedule, computed without its own code."""
        if self.seconds is None:
            return list(range(start_ms + self.every_ms, until_ms + 1, self.every_ms))
        times = range(start_ms // 1000 * 1000 + 1000, until_ms + 1, 1000)
        if self.hours is None:
            local = (
                (at_ms, datetime.fromtimestamp(at_ms / 1000, ZoneInfo(ZONE))) for at_ms in times
            )
            return [
                ms for ms, at in local if at.second in self.seconds and at.minute in self.minutes
            ]
        day = datetime.fromtimestamp(start_ms / 1000, ZoneInfo(ZONE)).date()
        found = {
            _instant_ms(day + timedelta(days), hour, minute)
            for days in range(-1, 3)
            for hour in self.hours
            for minute in self.minutes
        }
        return sorted(ms for ms in found if start_ms < ms <= until_ms)


def _instant_ms(day: date, hour: int, minute: int) -> int:
    """Return the first instant of a local time; if it is left out, the end of the gap."""
    zone = ZoneInfo(ZONE)
    at = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
    while at.astimezone(UTC).astimezone(zone).replace(fold=0) != at:
        at += timedelta(minutes=1)
    return round(at.timestamp() * 1000)


def planned(chance: random.Random, count: int) -> list[Planned]:
    """Return schedules of all kinds; the fixed times are near the change of daylight saving."""
    found = []
    for number in range(count):
        name, kind = f"s{number}", chance.random()
        if kind < 0.4:
            found.append(Planned(name, every_ms=chance.randrange(15_000, 120_000)))
        elif kind < 0.7:
            step = chance.choice((1, 2, 5))
            found.append(Planned(name, 0, (0,), tuple(range(0, 60, step))))
        elif kind < 0.95:
            minutes = chance.sample((*range(6), *range(54, 60)), chance.randint(1, 3))
            hours = chance.sample(range(1, 4), chance.randint(1, 3))
            found.append(Planned(name, 0, (0,), tuple(sorted(minutes)), tuple(sorted(hours))))
        else:
            seconds = tuple(range(0, 60, chance.choice((5, 10, 20))))
            found.append(Planned(name, 0, seconds, tuple(range(60))))
    return found


@dataclass(frozen=True)
class Report:
    """What a run did, and which invariants did not hold."""

    text: str
    problems: list[str]


class Crowd:
    """The workers of a run, which are killed and frozen."""

    def __init__(self, hosts: str, tasks: Path, shift_ms: int, chance: random.Random) -> None:
        self._hosts, self._tasks, self._shift_ms = hosts, tasks, shift_ms
        self._chance = chance
        self._running: list[WorkerProcess] = []
        self.kills = 0
        self.freezes = 0

    def fill(self) -> None:
        """Start workers until there are enough."""
        while len(self._running) < WORKERS:
            environment = _environment(self._tasks, self._shift_ms, HOUR_MS)
            self._running.append(
                WorkerProcess(self._hosts, self._tasks, loader=None, environment=environment)
            )

    def fault(self) -> None:
        """Kill one or all workers, or freeze one, and start new ones after a while."""
        chosen = (
            self._running if self._chance.random() < 0.2 else [self._chance.choice(self._running)]
        )
        if len(chosen) == 1 and self._chance.random() < 0.4:
            self.freezes += 1
            with _frozen(chosen[0]):
                time.sleep(self._chance.uniform(0.5, 4))
            return
        self.kills += len(chosen)
        for worker in chosen:
            worker.kill()
            worker.close()
            self._running.remove(worker)
        time.sleep(self._chance.uniform(0, 8))
        self.fill()

    def close(self) -> None:
        """End all workers."""
        for worker in self._running:
            worker.close()


@contextlib.contextmanager
def _frozen(worker: WorkerProcess) -> Iterator[None]:
    worker.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.process.send_signal(signal.SIGCONT)


def _environment(directory: Path, shift_ms: int, swing_ms: int) -> dict[str, str]:
    path = os.pathsep.join([str(directory), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {"PYTHONPATH": path, "SHIFT_MS": str(shift_ms), "SWING_MS": str(swing_ms)}


def run(home: Path, seed: int, seconds: float, count: int) -> Report:
    """Run schedules for a time under faults, and compare their jobs with their due times."""
    chance = random.Random(seed)
    plans = planned(chance, count)
    change = chance.choice(CHANGES)
    shift_ms = round((change.timestamp() - time.time() - seconds / 2) * 1000)
    write_tasks(home)
    (home / "sitecustomize.py").write_text(SET_CLOCK)
    variables = [f"{k}={v}" for k, v in _environment(home, shift_ms, 0).items()]
    with contextlib.ExitStack() as started:
        server = ShiftedServer(home / "server", variables)
        server.start()
        started.callback(server.stop)
        dispatcher = started.enter_context(Dispatcher(server.hosts, ROOT, create=True))
        start_ms = {plan.name: _add(dispatcher, plan) for plan in plans}
        crowd = Crowd(server.hosts, home, shift_ms, chance)
        started.callback(crowd.close)
        crowd.fill()
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            time.sleep(chance.uniform(0, min(10, seconds / 4)))
            crowd.fault()
        end_ms = dispatcher.queue.server_time_ms()
        expected = Counter(
            (plan.name, due_ms)
            for plan in plans
            for due_ms in plan.due_ms(start_ms[plan.name], end_ms)
        )
        _wait_until_handled(dispatcher, expected)
        problems, jobs = _problems(dispatcher, expected, end_ms)
    text = (
        f"seed {seed}: {count} schedules, {seconds:g} s around {change.isoformat()};"
        f" {crowd.kills} workers killed, {crowd.freezes} frozen; {expected.total()} due times,"
        f" {jobs} jobs: {'; '.join(problems[:5]) or 'each due time has exactly one job'}"
    )
    return Report(text, problems)


def _add(dispatcher: Dispatcher, plan: Planned) -> int:
    added = dispatcher.schedules.add(
        plan.name,
        JobRequest("pipe_tasks:echo", parameters={"schedule": plan.name}),
        cron=plan.cron,
        every_ms=plan.every_ms or None,
        timezone=ZONE,
        missed=Missed.ALL,
        missed_most=1000,
        grace_ms=2000,
        due_parameter="due_ms",
    )
    return added.start_ms


def _wait_until_handled(dispatcher: Dispatcher, expected: Counter[tuple[str, int]]) -> None:
    last: dict[str, int] = {}
    for name, due_ms in expected:
        last[name] = max(due_ms, last.get(name, 0))

    def is_handled() -> bool:
        schedules = {one.name: one.schedule for one in dispatcher.schedules.all()}
        found = (schedules[name] for name in last)
        return all(one is not None and one.last_due_ms >= last[one.name] for one in found)

    wait_until(is_handled, "the handling of all due times")


def _problems(
    dispatcher: Dispatcher, expected: Counter[tuple[str, int]], end_ms: int
) -> tuple[list[str], int]:
    problems = []
    found: Counter[tuple[str, int]] = Counter()
    layout = dispatcher.queue.layout
    for job in dispatcher.queue.jobs():
        due = (job.parameters["schedule"], job.parameters["due_ms"])
        found[due] += 1
    for names in layout.iterate_names(Place.DONE):
        paths = [layout.done(name.name) for name in names]
        ended = layout.read_each(Place.DONE, [name.name for name in names])
        for one, znode in zip(ended, layout.znodes.get_all(paths), strict=True):
            if one and znode and znode.created_ms < one.parameters["due_ms"] - EARLY_MS:
                problems.append(f"{one.parameters} ended at {znode.created_ms}, too early")
    in_time = Counter({due: jobs for due, jobs in found.items() if due[1] <= end_ms})
    problems += [f"{due} has {jobs} jobs" for due, jobs in found.items() if jobs != 1]
    problems += [f"{due} has no job" for due in expected - in_time]
    problems += [f"{due} is not a due time" for due in in_time - expected if in_time[due] == 1]
    return problems, found.total()


def main() -> None:
    """Run the test and print its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="repeats the choices of a run; default: random")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long faults are made")
    parser.add_argument("--schedules", type=int, default=1000)
    options = parser.parse_args()
    seed = random.randrange(1 << 31) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="zoolet-schedules-") as home:
        report = run(Path(home), seed, options.seconds, options.schedules)
    print(report.text)
    sys.exit(1 if report.problems else 0)


if __name__ == "__main__":
    main()
