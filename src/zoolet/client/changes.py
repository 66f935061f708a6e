"""What a tree cache reports, and how it gets states of a subtree from events and reads.

Invariant: each cut of `PendingEvents` is the state of the subtree at one zxid. Reason: an event
comes before any reply that shows its change. So the event of each state that was read has come, and
a cut contains only znodes of which that very event is the last one before the cut. This module does
no I/O. It imports ``model``.
"""

from collections.abc import Mapping
from enum import Enum, unique
from typing import NamedTuple

from zoolet.model.codes import EventType
from zoolet.model.results import Event, ZnodeData

Tree = dict[str, ZnodeData]
"""The znodes of a subtree, by their paths."""


@unique
class ChangeKind(Enum):
    """The kind of a change of a tree cache."""

    CREATED = "created"
    """A znode was created."""

    CHANGED = "changed"
    """The data of a znode were set."""

    DELETED = "deleted"
    """A znode was deleted."""

    STALE = "stale"
    """The connection is lost: the copy does not change until the next FRESH."""

    FRESH = "fresh"
    """The copy is a state of the server again."""

    MISSED = "missed"
    """The program is too slow: older changes are left out. The copy itself is complete."""


class TreeChange(NamedTuple):
    """A change of a tree cache.

    ``found`` is the new state of the znode; None if it was deleted. ``zxid`` is the zxid of the
    creation, of the last change of the data, or of the deletion. It is -1 if it is not known: for a
    deletion that happened on a server before 3.9, or without a connection.
    """

    kind: ChangeKind
    path: str
    found: ZnodeData | None
    zxid: int


class PendingEvents:
    """Events that a copy of a subtree does not show yet, and what was read because of them."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._known: dict[str, int] = {}
        self._states: Tree = {}
        self._asked_at = 0

    def __len__(self) -> int:
        return len(self._events)

    def clear(self) -> None:
        """Forget all events."""
        self._events.clear()
        self._known.clear()
        self._states.clear()

    def add(self, event: Event) -> None:
        """Add an event; events are added in the order in which they came."""
        self._events.append(event)

    def ask(self) -> list[str]:
        """Return the paths of the znodes to read now; `learn` takes the results."""
        last = {event.path: at for at, event in enumerate(self._events)}
        self._asked_at = len(self._events)
        return [
            path
            for path, at in last.items()
            if self._events[at].type is not EventType.NODE_DELETED and self._known.get(path) != at
        ]

    def learn(self, found: Mapping[str, ZnodeData]) -> None:
        """Note what was read; all events that came before the replies must have been added."""
        last = {event.path: at for at, event in enumerate(self._events)}
        by_zxid = {(event.path, event.zxid): at for at, event in enumerate(self._events)}
        for path, state in found.items():
            at = by_zxid.get((path, state.stat.mzxid))
            if at is None and last.get(path, self._asked_at) < self._asked_at:
                # The server sends no zxids. No event has come since the request, so the state is
                # that of the last event.
                at = last[path]
            if at is not None:
                self._known[path] = at
                self._states[path] = state

    def cut(self, copy: Tree, at_least: int = 0) -> list[TreeChange] | None:
        """Bring a copy to the newest state that is known; return the changes.

        None says that no state after ``at_least`` events is known yet.
        """
        size = self._size_of_cut()
        if size == 0 or size < at_least:
            return None
        changes = []
        by_path: dict[str, list[tuple[int, Event]]] = {}
        for at, event in enumerate(self._events[:size]):
            by_path.setdefault(event.path, []).append((at, event))
        for path, events in by_path.items():
            changes += self._changes_of(path, events, copy)
        self._drop(size)
        return [change for _, change in sorted(changes, key=lambda item: item[0])]

    def _size_of_cut(self) -> int:
        """Return the number of events up to the last point at which all states are known."""
        unknown: set[str] = set()
        size = 0
        for at, event in enumerate(self._events):
            if event.type is EventType.NODE_DELETED or self._known.get(event.path) == at:
                unknown.discard(event.path)
            else:
                unknown.add(event.path)
            if not unknown and not self._is_in_one_txn(at):
                size = at + 1
        return size

    def _is_in_one_txn(self, at: int) -> bool:
        """Return whether an event and the next one may be of one txn."""
        following = self._events[at + 1 : at + 2]
        # A server before 3.9 sends the zxid -1 with each event.
        return bool(following) and following[0].zxid == self._events[at].zxid

    def _changes_of(
        self, path: str, events: list[tuple[int, Event]], copy: Tree
    ) -> list[tuple[int, TreeChange]]:
        """Apply the events of one znode; return its changes and their places."""
        deleted = [(at, one) for at, one in events if one.type is EventType.NODE_DELETED]
        created = [at for at, one in events if one.type is EventType.NODE_CREATED]
        is_there = events[-1][1].type is not EventType.NODE_DELETED
        changes = []
        old = copy.get(path)
        if deleted and old is not None:
            at, event = deleted[0]
            del copy[path]
            changes.append((at, TreeChange(ChangeKind.DELETED, path, None, event.zxid)))
            old = None
        if is_there:
            new = self._states[path]
            copy[path] = new
            if old is None or old.stat.czxid != new.stat.czxid:
                change = TreeChange(ChangeKind.CREATED, path, new, new.stat.czxid)
                changes.append((created[-1] if created else self._known[path], change))
            elif old.stat.mzxid != new.stat.mzxid:
                change = TreeChange(ChangeKind.CHANGED, path, new, new.stat.mzxid)
                changes.append((self._known[path], change))
        return changes

    def _drop(self, size: int) -> None:
        del self._events[:size]
        kept = {path: at - size for path, at in self._known.items() if at >= size}
        self._known = kept
        self._states = {path: self._states[path] for path in kept}


def differences(old: Tree, new: Tree) -> list[TreeChange]:
    """Return the changes from one state to a later one, without knowledge of the events."""
    gone = [path for path, before in old.items() if _czxid(new, path) != before.stat.czxid]
    changes = [
        TreeChange(ChangeKind.DELETED, path, None, -1) for path in sorted(gone, reverse=True)
    ]
    rest = []
    for path, found in new.items():
        if _czxid(old, path) != found.stat.czxid:
            rest.append(TreeChange(ChangeKind.CREATED, path, found, found.stat.czxid))
        elif old[path].stat.mzxid != found.stat.mzxid:
            rest.append(TreeChange(ChangeKind.CHANGED, path, found, found.stat.mzxid))
    # Creations in one txn have one zxid; a parent is created before its children.
    return changes + sorted(rest, key=lambda change: (change.zxid, change.path))


def _czxid(tree: Tree, path: str) -> int:
    found = tree.get(path)
    return 0 if found is None else found.stat.czxid
