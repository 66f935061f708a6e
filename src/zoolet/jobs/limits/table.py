"""The limits of a queue as a worker knows them: read once, and again when a watch reports a change.

Invariant: without a change of the limits, `LimitTable.current` sends no request. This module
imports `zoolet.jobs.records` and `zoolet.jobs.znodes`.
"""

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

from zoolet.jobs.errors import UnreadableJobError
from zoolet.jobs.records.limits import LIMITS_MOST, Limit
from zoolet.jobs.znodes.edge import MissingError
from zoolet.jobs.znodes.job_znodes import FORBIDDEN_VERSION
from zoolet.jobs.znodes.layout import LIMITS, Layout
from zoolet.jobs.znodes.limit_znodes import limit_path

log = logging.getLogger(__name__)


class Limits(NamedTuple):
    """The limits of a queue at one moment.

    Attributes:
        active: the limits that apply.
        removed: the names of limits that were removed and whose znodes still exist.
        invalid: the names of limits whose values are invalid. They limit nothing.
    """

    active: tuple[Limit, ...] = ()
    removed: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()


class LimitTable:
    """Keeps the limits of a queue up to date. Several threads may use it."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._changes = 1
        """Increases with each change of the limits."""
        self._changes_read = 0
        self._limits = Limits()
        self._on_change: list[Callable[[], None]] = []
        self._warned: set[str] = set()

    def subscribe(self, on_change: Callable[[], None]) -> None:
        """Call a function, in any thread, after each change of the limits."""
        self._on_change.append(on_change)

    def current(self) -> Limits:
        """Return the limits."""
        # While one thread reads, others wait. They would otherwise start jobs without the limits.
        if self._changes_read != self._changes:
            with self._lock:
                # A change after this line is read by the next call.
                changes = self._changes
                if self._changes_read != changes:
                    self._limits = self._read()
                    self._changes_read = changes
        return self._limits

    def _stir(self, _: object) -> None:
        self._changes += 1
        for call in self._on_change:
            call()

    def _read(self) -> Limits:
        znodes = self._layout.znodes
        path = znodes.path(LIMITS)
        try:
            names = sorted(znodes.children(path, self._stir))
        except MissingError:
            if znodes.exists(path, self._stir):
                self._changes += 1
            return Limits()
        if len(names) > LIMITS_MOST:
            self._warn(
                "", f"the queue has {len(names)} limits; the first {LIMITS_MOST} by name apply"
            )
        names = names[:LIMITS_MOST]
        paths = [(limit_path(self._layout, name), self._stir) for name in names]
        found, _ = znodes.watch_all(paths) if paths else ([], [])
        active: list[Limit] = []
        removed: list[str] = []
        invalid: list[str] = []
        for name, znode in zip(names, found, strict=True):
            if znode is None:
                continue
            if znode.version == FORBIDDEN_VERSION:
                invalid.append(name)
                self._warn(
                    name, f"this worker cannot read the limit {name}: give it the READ permission"
                )
                continue
            try:
                limit = Limit.decode(name, znode.data)
            except UnreadableJobError as error:
                invalid.append(name)
                self._warn(name, str(error))
                continue
            self._warned.discard(name)
            if limit is None:
                removed.append(name)
            else:
                active.append(limit)
        return Limits(tuple(active), tuple(removed), tuple(invalid))

    def _warn(self, name: str, message: str) -> None:
        """Log a problem of a limit one time."""
        if name not in self._warned:
            self._warned.add(name)
            log.warning("%s", message)
