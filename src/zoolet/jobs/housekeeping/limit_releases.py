"""The part of the housekeeping that moves jobs to "unowned" when the limit they wait for has room.

For each limit, the jobs in "deferred" are found by their entries in the index. As many of them are
moved to "unowned" as the limit has room for. The keys take turns. A job that was released counts
until a worker has taken it, so that no more jobs are released than can start. Invariants:

- A released job has claimed nothing: the worker that takes it claims its limits. If the limit has
  no room then, for example because two workers did the housekeeping at the same time, the job goes
  back to "deferred". So the limit is kept whatever this module does.
- Nothing is polled: a wait ends with a watch, or at the time of the next start of a limit per
  second. After `RELEASED_S`, a released job that no worker takes does not count any more, so that
  it does not keep the room from other jobs.
- All state in memory can be read from the queue again: `begin` clears this state.

This module imports `zoolet.jobs.limits`, `zoolet.jobs.queue`, `zoolet.jobs.records`,
`zoolet.jobs.znodes` and other modules of its package.
"""

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable

from zoolet.jobs.housekeeping.entries import remove_entry
from zoolet.jobs.housekeeping.waiting_keys import WaitingKeys, group_of_key
from zoolet.jobs.limits.admission import LimitState, NextStart
from zoolet.jobs.queue.moves import Move
from zoolet.jobs.queue.oldest_share import ShareSetting
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records import job_names
from zoolet.jobs.records.job_values import is_znode_name
from zoolet.jobs.records.limits import Limit
from zoolet.jobs.records.transitions import Event, Place
from zoolet.jobs.znodes.deferred_index import entry_path
from zoolet.jobs.znodes.edge import MissingError
from zoolet.jobs.znodes.layout import Layout
from zoolet.jobs.znodes.limit_znodes import (
    decode_time,
    limit_path,
    next_path,
    parse_slot,
    slot,
    slots_path,
    waiting_path,
)
from zoolet.jobs.znodes.multis import JOBS_AT_ONCE
from zoolet.jobs.znodes.operations import Delete, Operation, RefusedError

log = logging.getLogger(__name__)

RELEASED_S = 5.0
"""The time, in seconds, for which a released job counts although no worker takes it."""
RELEASES_AT_ONCE = 500
"""The most jobs that one call moves for a limit, so that other duties have their turn."""


class _Waiting:
    """A limit, and what is known of the jobs that wait for it.

    Attributes:
        keys: the waiting jobs.
        released: the released jobs that no worker has taken, by name: the group, and the time of
            the monotonic clock until which the job counts.
        is_stale: whether the jobs, the slots or the times of the next starts may have changed.
        limit: the limit when it was looked at last.
        start_ms: the time at which a job may start without another event, in ms since the epoch.
    """

    def __init__(
        self, layout: Layout, name: str, wake: Callable[[], None], percent: Callable[[], int]
    ) -> None:
        self._wake = wake
        self.keys = WaitingKeys(layout, name, self.stir, percent)
        self.released: dict[str, tuple[str, float]] = {}
        self.is_stale = True
        self.limit: Limit | None = None
        self.start_ms: float | None = None

    def stir(self, _: object = None) -> None:
        """Note that the limit must be looked at: something has changed."""
        self.is_stale = True
        self._wake()

    def again_in_s(self, now_ms: int) -> float | None:
        """Return the time, in seconds, until the limit must be looked at; None: after a change."""
        now = time.monotonic()
        times = [max(0.0, until - now) for _, until in self.released.values()]
        if self.start_ms is not None:
            times.append(max(0.0, (self.start_ms - now_ms) / 1000))
        return min(times, default=None)


class LimitReleaser:
    """Releases the jobs of a queue that wait for limits.

    Args:
        jobs: the queue.
        wake: called by any thread when `release` must be called before the time that it returned.
    """

    def __init__(self, jobs: JobQueue, wake: Callable[[], None]) -> None:
        self._jobs = jobs
        self._layout = jobs.layout
        self._znodes = jobs.layout.znodes
        self._wake = wake
        self._waiting: dict[str, _Waiting] = {}
        self._share = ShareSetting(jobs.layout, lambda: None)
        jobs.gate.table.subscribe(wake)

    def begin(self) -> None:
        """Clear the state in memory, and delete slots whose job is not owned."""
        self._waiting.clear()
        self.delete_lost_slots()

    def release(self) -> float | None:
        """Move jobs whose limit has room; return the time, in seconds, until the next call.

        Returns 0 if more jobs can be moved now, and None if only ``wake`` requires another call.
        """
        limits = self._jobs.gate.table.current()
        known = {limit.name for limit in limits.active}
        for name in set(self._waiting) - known - set(limits.removed) - set(limits.invalid):
            del self._waiting[name]
        times: list[float] = []
        for limit in limits.active:
            again_in_s = self._release_some(limit)
            if again_in_s is not None:
                times.append(again_in_s)
        for name in (*limits.removed, *limits.invalid):
            if self._release_all(name):
                times.append(0.0)
            elif name in limits.removed:
                self._delete(name)
        return min(times, default=None)

    def _of(self, name: str) -> _Waiting:
        if name not in self._waiting:
            self._waiting[name] = _Waiting(self._layout, name, self._wake, self._share.percent)
        return self._waiting[name]

    # --- A limit that applies

    def _release_some(self, limit: Limit) -> float | None:
        """Move the jobs that the limit has room for; return the time until the next call."""
        waiting = self._of(limit.name)
        now_ms = self._jobs.clock_ms()
        again_in_s = waiting.again_in_s(now_ms)
        if not waiting.is_stale and waiting.limit == limit and again_in_s != 0.0:
            return again_in_s
        # A change after this line sets the flag again.
        waiting.is_stale, waiting.limit, waiting.start_ms = False, limit, None
        if not waiting.keys.refresh():
            return None
        state = self._state(limit, waiting)
        now_us = now_ms * 1000
        taken = Counter(group for group, _ in waiting.released.values())

        def room_of(key: str) -> int:
            group = group_of_key(key, per_key=limit.per_key)
            return state.room(group, now_us) - taken[group]

        rooms = [room_of(key) for key in waiting.keys.keys]
        count = min(RELEASES_AT_ONCE, sum(rooms) if limit.per_key else max(rooms, default=0))
        found = waiting.keys.take(count, room_of) if count > 0 else {}
        for name, path in found.items():
            group = group_of_key(path.split("/")[-2], per_key=limit.per_key)
            waiting.released[name] = (group, time.monotonic() + RELEASED_S)
        for name in self._move(limit.name, found):
            waiting.released.pop(name, None)
        if count == RELEASES_AT_ONCE:
            waiting.is_stale = True
            return 0.0
        waiting.start_ms = self._start_ms(limit, state, waiting, now_us)
        return waiting.again_in_s(now_ms)

    def _state(self, limit: Limit, waiting: _Waiting) -> LimitState:
        """Read the slots or the next starts, with watches, and then which released jobs wait."""
        if limit.concurrent is not None:
            try:
                slots = self._znodes.children(slots_path(self._layout, limit.name), waiting.stir)
            except MissingError:
                slots = []
            state = LimitState(limit, slots)
        else:
            state = LimitState(limit)
            groups = {group_of_key(key, per_key=limit.per_key) for key in waiting.keys.keys}
            for group in groups:
                path = next_path(self._layout, limit.name, group)
                znode = self._znodes.get(path, waiting.stir)
                if znode is not None:
                    state.starts[group] = NextStart(decode_time(znode.data), znode.version)
        now = time.monotonic()
        names = [name for name, (_, until) in waiting.released.items() if until > now]
        paths = [self._layout.unowned(name) for name in names]
        still = self._znodes.which_exist(paths) if paths else []
        waiting.released = {
            name: waiting.released[name]
            for name, exists in zip(names, still, strict=True)
            if exists
        }
        return state

    def _start_ms(
        self, limit: Limit, state: LimitState, waiting: _Waiting, now_us: int
    ) -> float | None:
        """Return the time at which a job may start without another event; None: there is none."""
        if limit.per_second is None:
            return None
        groups = {group_of_key(key, per_key=limit.per_key) for key in waiting.keys.keys}
        times = []
        for group in groups - {group for group, _ in waiting.released.values()}:
            start = state.starts.get(group)
            in_s = limit.starts_in_s(0 if start is None else start.time_us, now_us)
            times.append(now_us / 1000 + in_s * 1000)
        return min(times, default=None)

    def _move(self, limit: str, entries: dict[str, str]) -> list[str]:
        """Move the jobs of these entries (paths by name); return the names that need no room.

        Entries without a job are removed. A job that must wait for another limit waits there.
        """
        names = list(entries)
        others: list[str] = []
        for start in range(0, len(names), JOBS_AT_ONCE):
            some = names[start : start + JOBS_AT_ONCE]
            others += self._move_some(limit, {name: entries[name] for name in some})
        return others

    def _move_some(self, limit: str, entries: dict[str, str]) -> list[str]:
        names = list(entries)
        found = self._layout.read_each(Place.DEFERRED, names)
        now_ms = self._jobs.clock_ms()
        waiting = [job for job in found if job is not None and not job.is_stand_in]
        is_only = len(self._jobs.gate.table.current().active) == 1
        admission = self._jobs.gate.admission(waiting) if waiting and not is_only else None
        moves: list[Move] = []
        others: list[str] = []
        for name, job in zip(names, found, strict=True):
            if job is None:
                remove_entry(self._layout, name, entries[name])
                others.append(name)
            elif job.is_stand_in:
                log.warning("%s", job.errors[-1].message)
                moves.append(Move(Event.UNREADABLE, Place.DEFERRED, job, job.gave_up(now_ms)))
                others.append(name)
            elif entry_path(self._layout, job) != entries[name]:
                # Another program has left this entry: the job has a different entry.
                self._znodes.delete(entries[name])
                others.append(name)
            else:
                full = None if admission is None else admission.judge(job).limit
                after = job.released() if full in {None, limit} else job.held_by(full or limit)
                moves.append(Move(Event.RELEASE, Place.DEFERRED, job, after))
                if after.waits_for is not None:
                    others.append(name)
        made = self._jobs.mover.move(moves)
        for move in made:
            if move.before.is_stand_in:
                self._znodes.delete(entries[move.before.name])
        refused = {move.before.name for move in moves} - {move.before.name for move in made}
        for name in refused:
            self._of(limit).keys.note_failed(entries[name])
        return [*others, *refused]

    # --- A limit that does not apply any more

    def _release_all(self, name: str) -> bool:
        """Move jobs that wait for a limit which does not apply; return whether there are more."""
        waiting = self._of(name)
        if not waiting.keys.refresh():
            return False
        found = waiting.keys.take(RELEASES_AT_ONCE, lambda _: RELEASES_AT_ONCE)
        for start in range(0, len(found), JOBS_AT_ONCE):
            some = dict(list(found.items())[start : start + JOBS_AT_ONCE])
            self._move_some(name, some)
        return bool(found)

    def _delete(self, name: str) -> None:
        """Delete the znodes of a limit that was removed, if no job waits for it or has its slot."""
        waiting = self._of(name)
        path = limit_path(self._layout, name)
        try:
            slots = self._znodes.children(slots_path(self._layout, name), waiting.stir)
            if slots or self._znodes.children(waiting_path(self._layout, name)):
                return
        except MissingError:
            pass
        found = self._znodes.get(path)
        if found is None or found.data:
            return
        with contextlib.suppress(MissingError):
            for child in self._znodes.children(f"{path}/next"):
                self._znodes.delete(f"{path}/next/{child}")
        parts = [f"{path}/{part}" for part in ("slots", "waiting", "next")]
        operations: list[Operation] = [
            Delete(part, -1)
            for part, znode in zip(parts, self._znodes.get_all(parts), strict=True)
            if znode is not None
        ]
        operations.append(Delete(path, found.version))
        try:
            self._znodes.multi(operations, landed=lambda: not self._znodes.exists(path))
        except RefusedError:
            # The limit was used, or added again, which gives its value a new version.
            log.debug("the limit %s is not deleted: it was used or added again", name)

    # --- Slots without a job

    def delete_lost_slots(self) -> None:
        """Delete the slots of jobs that are not owned, which another program has changed."""
        limits = self._jobs.gate.table.current()
        active = [limit.name for limit in limits.active]
        for name in (*active, *limits.removed, *limits.invalid):
            self._delete_lost_slots(name)

    def _delete_lost_slots(self, limit: str) -> None:
        try:
            children = self._znodes.children(slots_path(self._layout, limit))
        except MissingError:
            return
        suspects = self._lost_slots(limit, children)
        # A job that was moved between two reads is no suspect the second time.
        for child in self._lost_slots(limit, list(suspects)):
            log.warning("the slot %s of limit %s has no job: it is deleted", child, limit)
            self._znodes.delete_tree(f"{slots_path(self._layout, limit)}/{child}")

    def _lost_slots(self, limit: str, children: list[str]) -> list[str]:
        parent = slots_path(self._layout, limit)
        found = self._znodes.get_all([f"{parent}/{child}" for child in children])
        lost: list[str] = []
        names: dict[str, str] = {}
        for child, znode in zip(children, found, strict=True):
            if znode is None:
                continue
            parsed = parse_slot(child)
            name = znode.data.decode(errors="replace")
            if parsed is None or not is_znode_name(name) or job_names.parse(name) is None:
                lost.append(child)
            else:
                names[child] = name
        jobs = self._layout.read_each(Place.OWNED, list(names.values()))
        for child, job in zip(names, jobs, strict=True):
            parsed = parse_slot(child)
            if parsed is not None and (job is None or slot(limit, *parsed) not in job.slots):
                lost.append(child)
        return lost
