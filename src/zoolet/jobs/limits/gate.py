"""Reads the state of the limits that apply to jobs, for the workers that want to take the jobs.

Invariant: for jobs without limits, no request is sent. This module imports `zoolet.jobs.records`,
`zoolet.jobs.znodes` and other modules of its package.
"""

from collections.abc import Callable, Sequence

from zoolet.jobs.limits.admission import Admission, LimitState, NextStart
from zoolet.jobs.limits.table import LimitTable
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.limits import Limit
from zoolet.jobs.znodes.layout import Layout
from zoolet.jobs.znodes.limit_znodes import decode_time, next_path, slots_path, waiting_path

LIMITS_AT_ONCE = 20
"""The limits whose slots and waiting keys one request reads."""


class Gate:
    """Decides which jobs may start now."""

    def __init__(self, layout: Layout, clock_ms: Callable[[], int]) -> None:
        self._layout = layout
        self._clock_ms = clock_ms
        self.table = LimitTable(layout)

    def admission(self, jobs: Sequence[Job]) -> Admission | None:
        """Return what judges these jobs; None if no limit applies to any of them."""
        limits = self.table.current().active
        if not limits:
            return None
        applied = {
            limit.name: limit
            for limit in limits
            if any(limit.applies_to(job.task, job.dataset, job.limit_key) for job in jobs)
        }
        if not applied:
            return None
        states = self.states(list(applied.values()), jobs)
        return Admission(self._layout, states, self._clock_ms())

    def states(self, limits: Sequence[Limit], jobs: Sequence[Job]) -> list[LimitState]:
        """Read the states of limits, as far as they concern these jobs."""
        znodes = self._layout.znodes
        states: list[LimitState] = []
        for start in range(0, len(limits), LIMITS_AT_ONCE):
            some = limits[start : start + LIMITS_AT_ONCE]
            wanted = [
                path
                for limit in some
                for path in (
                    slots_path(self._layout, limit.name),
                    waiting_path(self._layout, limit.name),
                )
            ]
            found = znodes.children_of_all(wanted)
            states += [
                LimitState(limit, found[2 * number], found[2 * number + 1])
                for number, limit in enumerate(some)
            ]
        starts = [
            (state, group)
            for state in states
            if state.limit.per_second is not None
            for group in sorted(
                {state.limit.group_of(j.limit_key) for j in jobs if _is_of(state, j)}
            )
        ]
        paths = [next_path(self._layout, state.limit.name, group) for state, group in starts]
        for (state, group), znode in zip(starts, znodes.get_all(paths), strict=True):
            if znode is not None:
                state.starts[group] = NextStart(decode_time(znode.data), znode.version)
        return states


def _is_of(state: LimitState, job: Job) -> bool:
    return state.limit.applies_to(job.task, job.dataset, job.limit_key)
