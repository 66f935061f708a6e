"""The notes of jobs that have become FAILED, for the hooks of workers.

    failures            exists from the first start of a worker with hooks for failures
    failures/f-<seq>    a note: names of jobs; created by the multi that moves them to done
    failures/line/<n>   ephemerals of the workers with such hooks; the first in line calls them

A note is deleted after the hooks were called. So a call is not lost if a worker is killed. This
module imports `zoolet.jobs.records` and other modules of its package.
"""

from collections.abc import Mapping
from typing import Final

from zoolet.jobs.records.failure_notes import NotedFailure, encode_note
from zoolet.jobs.znodes.edge import MissingError
from zoolet.jobs.znodes.layout import Layout
from zoolet.jobs.znodes.operations import Create

FAILURES: Final = "failures"
NOTES_MOST: Final = 5000
"""The most notes that wait. The housekeeping deletes the oldest ones above this number."""

_LINE: Final = "line"
_PREFIX: Final = "f-"


class FailureSwitch:
    """Whether failures are noted: whether the parent of the notes exists.

    Only the first call sends a request, and the first one after a change.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._is_on = False
        self._is_stale = True
        self._changes = 0

    def is_on(self) -> bool:
        """Return whether failures are noted."""
        if not self._is_stale:
            return self._is_on
        changes = self._changes
        found = self._layout.znodes.exists(failures_path(self._layout), self._stir)
        self._is_on = found
        self._is_stale = False
        if self._changes != changes:
            # The watch was triggered in the meantime.
            self._is_stale = True
        return found

    def _stir(self, _: object) -> None:
        self._changes += 1
        self._is_stale = True


def failures_path(layout: Layout) -> str:
    """Return the path of the parent of all notes."""
    return layout.znodes.path(FAILURES)


def line_path(layout: Layout) -> str:
    """Return the path of the line of the workers that call hooks."""
    return layout.znodes.path(FAILURES, _LINE)


def note_path(layout: Layout, note: str) -> str:
    """Return the path of a note."""
    return layout.znodes.path(FAILURES, note)


def note(layout: Layout, failures: Mapping[str, NotedFailure]) -> Create:
    """Return the operation that creates a note; refused if the parent of the notes is missing."""
    return Create(layout.znodes.path(FAILURES, _PREFIX), encode_note(failures), sequence=True)


def is_note(operation: object, layout: Layout) -> bool:
    """Return whether an operation is one that `note` has returned."""
    return isinstance(operation, Create) and operation.path == layout.znodes.path(FAILURES, _PREFIX)


def notes_in(children: list[str]) -> list[str]:
    """Return the names of notes among the children of the parent, the oldest note first."""
    return sorted(name for name in children if name.startswith(_PREFIX))


def remove_oldest_notes(layout: Layout) -> int:
    """Delete the oldest notes above `NOTES_MOST`, and return their number."""
    path = failures_path(layout)
    if layout.znodes.count_children(path) <= NOTES_MOST + 1:
        return 0
    try:
        notes = notes_in(layout.znodes.children(path))
    except MissingError:
        return 0
    removed = notes[: max(0, len(notes) - NOTES_MOST)]
    layout.znodes.delete_each([f"{path}/{name}" for name in removed])
    return len(removed)
