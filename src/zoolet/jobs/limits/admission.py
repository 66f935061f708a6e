"""Decides which jobs may start under the limits of a queue. No I/O, no clock.

An `Admission` has the state of the limits at one moment: the slots in use, the waiting jobs, and
the times of the next starts. `Admission.judge` says for one job after the other whether the job may
start. A job that may start claims its limits, so fewer jobs after it may start. Invariants:

- A job may start only if all its limits have room.
- A job must wait if other jobs already wait for one of its limits, so that jobs start in order and
  keys take turns. Only a job that a limit has released (`Job.limit`) passes the waiting jobs.
- The claims of a verdict belong into the multi that takes the job. The server refuses the multi if
  another worker has claimed the same slot, or any start of the same limit per second.

This module imports `zoolet.jobs.records` and `zoolet.jobs.znodes`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from zoolet.jobs.records.job import Job
from zoolet.jobs.records.limits import Limit, key_name
from zoolet.jobs.znodes.layout import Layout
from zoolet.jobs.znodes.limit_znodes import encode_time, next_path, parse_slot, slot, slot_path
from zoolet.jobs.znodes.operations import Create, Operation, SetData


class NextStart:
    """The time of the next start of a group.

    Attributes:
        time_us: the time, in microseconds since the epoch (`Limit.starts_allowed`).
        version: the version of its znode; None if the znode does not exist.
    """

    def __init__(self, time_us: int = 0, version: int | None = None) -> None:
        self.time_us = time_us
        self.version = version


class LimitState:
    """The state of a limit.

    Attributes:
        limit: the limit.
        used: the numbers of the slots in use, by group.
        waiting: the names of the keys (`key_name`) that have waiting jobs.
        starts: the next starts, by group, of a limit per second.
    """

    def __init__(
        self, limit: Limit, slots: Sequence[str] = (), waiting: Sequence[str] = ()
    ) -> None:
        self.limit = limit
        self.used: dict[str, set[int]] = {}
        self.waiting = set(waiting)
        self.starts: dict[str, NextStart] = {}
        for child in slots:
            parsed = parse_slot(child)
            if parsed is not None:
                self.used.setdefault(parsed[0], set()).add(parsed[1])

    def has_waiting(self, key: str | None) -> bool:
        """Return whether jobs wait that a new job with this limit key must not pass."""
        return key_name(key) in self.waiting if self.limit.per_key else bool(self.waiting)

    def room(self, group: str, now_us: int) -> int:
        """Return how many jobs of a group may start now."""
        if self.limit.concurrent is not None:
            return max(0, self.limit.concurrent - len(self.used.get(group, ())))
        start = self.starts.get(group)
        return self.limit.starts_allowed(0 if start is None else start.time_us, now_us)

    def free_slot(self, group: str) -> int:
        """Return the least number of a slot that is not in use."""
        used = self.used.get(group, set())
        return next(number for number in range(len(used) + 1) if number not in used)


class Verdict(NamedTuple):
    """Whether a job may start.

    Attributes:
        limit: the name of the limit that the job must wait for; None: the job may start.
        slots: the slots of the job.
        claims: the operations that claim the limits.
    """

    limit: str | None = None
    slots: tuple[str, ...] = ()
    claims: tuple[Operation, ...] = ()


FREE = Verdict()
"""The verdict for a job that no limit applies to."""


class Admission:
    """Judges jobs by the state of the limits, which it updates.

    Args:
        layout: the layout of the queue.
        states: the states of the limits.
        now_ms: the current time, in ms since the epoch.
    """

    def __init__(self, layout: Layout, states: Sequence[LimitState], now_ms: int) -> None:
        self._layout = layout
        self._states = states
        self._now_us = now_ms * 1000

    def judge(self, job: Job) -> Verdict:
        """Return whether a job may start; if so, claim its limits."""
        states = [
            state
            for state in self._states
            if state.limit.applies_to(job.task, job.dataset, job.limit_key)
        ]
        if not states:
            return FREE
        for state in states:
            group = state.limit.group_of(job.limit_key)
            must_wait = job.limit is None and state.has_waiting(job.limit_key)
            if must_wait or not state.room(group, self._now_us):
                if job.limit is None:
                    state.waiting.add(key_name(job.limit_key))
                return Verdict(state.limit.name)
        slots: list[str] = []
        claims: list[Operation] = []
        for state in states:
            group = state.limit.group_of(job.limit_key)
            if state.limit.concurrent is None:
                claims.append(self._claim_start(state, group))
                continue
            number = state.free_slot(group)
            state.used.setdefault(group, set()).add(number)
            held = slot(state.limit.name, group, number)
            slots.append(held)
            claims.append(Create(slot_path(self._layout, held), job.name.encode()))
        return Verdict(None, tuple(slots), tuple(claims))

    def _claim_start(self, state: LimitState, group: str) -> Operation:
        start = state.starts.setdefault(group, NextStart())
        start.time_us = state.limit.after_start(start.time_us, self._now_us)
        path = next_path(self._layout, state.limit.name, group)
        data = encode_time(start.time_us)
        version, start.version = start.version, 0 if start.version is None else start.version + 1
        return Create(path, data) if version is None else SetData(path, data, version)
