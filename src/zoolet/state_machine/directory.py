"""The children of a znode: their paths in order of creation, and counts of them."""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from zoolet.state_machine.compaction import Compaction

if TYPE_CHECKING:
    from zoolet.state_machine.name_pieces import NamePieces

_SHORT_LIST: Final = 64
"""From a list of at most this length, a deleted child is removed immediately."""

_COPIED_IN_ONE_STEP: Final = 20_000
"""A list of at most this length is copied without the deleted children in one step, of about 1 ms.
A longer list is copied in many steps (`Compaction`), which takes more time in all."""

_GONE_BYTES_EACH: Final = 100
"""The maximum number of characters of deleted children's paths, per entry of a directory's list."""

_MOST_GONE_TO_COPY: Final = 1000


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Directory:
    """The data about a znode's children; a znode that never had a child has no directory.

    Attributes:
        entries: the paths of the children in order of creation, including the paths in ``gone``.
            The strings are the same objects as the keys of ``Tree.records``, unless a child was
            created again. A long list only grows; when paths are dropped, a new list replaces it.
            So a reader that keeps the list and its length keeps the state at that time without a
            copy.
        gone: the paths of deleted children that are still in ``entries``; None if there are none,
            as for every short list.
        gone_bytes: the number of characters in the paths in ``gone``.
        is_shared: whether a reader may have ``entries``, so that it must not change except to grow.
        compaction: makes the list that replaces ``entries``, or frees the replaced list; each
            change makes a step of it. None if there is nothing to do.
        parent: the directory that has this znode as an entry; None for the root.
        num_below: the number of znodes below the znode, at every depth.
        bytes_below: the number of data bytes of these znodes.
        created: the number of times that a child was created, which is the number of the next
            sequential child. It cannot be computed from the Stat past 2**30: the Stat's cversion,
            which also counts deletions, may have overflowed then.
        pzxid: the zxid of the last txn that created or deleted a child.
        is_counted: whether the znode's Stat in ``Tree.records`` contains the current values.
        listing: the encoded names of the children, as in a getChildren reply; None if no client
            has asked for them since the last change. A long list has ``pieces`` instead.
        pieces: the encoded names of a long list, in pieces; None if no client has asked for them,
            or if many children were deleted since then.
        rest: the encoded names of a long list behind its last piece; None if no client has asked
            for the names since the last change.
    """

    __slots__ = (
        "bytes_below",
        "compaction",
        "created",
        "entries",
        "gone",
        "gone_bytes",
        "is_counted",
        "is_shared",
        "listing",
        "num_below",
        "parent",
        "pieces",
        "pzxid",
        "rest",
    )

    def __init__(self, pzxid: i64, parent: "Directory | None") -> None:
        self.entries: list[str] = []
        self.gone: set[str] | None = None
        self.gone_bytes: i64 = 0
        self.is_shared = False
        self.compaction: Compaction | None = None
        self.parent = parent
        self.num_below: i64 = 0
        self.bytes_below: i64 = 0
        self.created = 0
        self.pzxid: i64 = pzxid
        self.is_counted = True
        self.listing: bytes | None = None
        self.pieces: NamePieces | None = None
        self.rest: bytes | None = None

    def add(self, path: str, size_bytes: i64) -> None:
        """Add a new child with ``size_bytes`` bytes of data.

        If a deleted child with this path is still in ``entries``, the new child takes its place.
        """
        gone = self.gone
        if gone is not None and path in gone:
            gone.remove(path)
            self._change_pieces(path)
            self.gone_bytes -= len(path)
            compaction = self.compaction
            if compaction is not None and not compaction.is_copied:
                compaction.create_again(path)
            elif not gone:
                self.gone = None
        else:
            self.entries.append(path)
        if self.compaction is not None:
            self._compact_some(self.compaction, path)
        self.listing = self.rest = None
        self.grow(1, size_bytes)

    def remove(self, path: str, size_bytes: i64) -> None:
        """Remove a child with ``size_bytes`` bytes of data."""
        if len(self.entries) <= _SHORT_LIST:
            self.entries.remove(path)
        else:
            self._note_gone(path)
            self._change_pieces(path)
        if self.compaction is not None:
            self._compact_some(self.compaction, path)
        self.listing = self.rest = None
        self.grow(-1, -size_bytes)

    def _change_pieces(self, path: str) -> None:
        pieces = self.pieces
        if pieces is not None and not pieces.change(path):
            self.pieces = None

    def _note_gone(self, path: str) -> None:
        gone = self.gone
        if gone is None:
            gone = self.gone = set()
        gone.add(path)
        self.gone_bytes += len(path)
        compaction = self.compaction
        if compaction is not None:
            if not compaction.is_copied:
                compaction.later.add(path)
            return
        num_entries: i64 = len(self.entries)
        if num_entries > _COPIED_IN_ONE_STEP:
            # A half of the limits, because further children are deleted during the steps.
            is_much = 2 * self.gone_bytes > _GONE_BYTES_EACH * num_entries
            if is_much or 4 * i64(len(gone)) > num_entries:
                self.compaction = Compaction(self.entries, gone)
        elif 2 * i64(len(gone)) > num_entries or self.gone_bytes > _GONE_BYTES_EACH * num_entries:
            self._drop_gone(gone)

    def _compact_some(self, compaction: Compaction, path: str) -> None:
        """Make a step of the compaction, after a change; when the new list is complete, use it."""
        if compaction.is_copied:
            if compaction.free_some(path):
                self.compaction = None
            return
        if not compaction.copy_some(path):
            return
        later = compaction.later
        gone_bytes: i64 = 0
        for gone in later:
            gone_bytes += len(gone)
        self.entries = compaction.kept
        self.gone = later or None
        self.gone_bytes = gone_bytes
        self.pieces = self.rest = None
        if self.is_shared:
            # The last reader frees the old list.
            self.compaction = None
            self.is_shared = False

    @property
    def num_children(self) -> int:
        """The number of children."""
        return len(self.entries) - (0 if self.gone is None else len(self.gone))

    def children(self) -> list[str]:
        """Return the paths of the children, in order of creation; callers must not change it."""
        if self.gone is not None:
            self._drop_gone(self.gone)
        return self.shared_entries()

    def shared_entries(self) -> list[str]:
        """Return ``entries`` for a reader that may have it for longer than one step."""
        self.is_shared = True
        return self.entries

    def listed(self) -> list[str]:
        """Return a list whose first entries stay the current ``entries``, whatever changes later.

        The result may be ``entries`` itself, so the caller must also keep its current length.
        """
        entries = self.entries
        return entries[:] if len(entries) <= _SHORT_LIST else self.shared_entries()

    def copy_gone(self) -> frozenset[str]:
        """Return a copy of ``gone``.

        If it is large, first drop its paths, and return an empty set. From a very long list, the
        next changes drop them.
        """
        gone = self.gone
        if gone is None:
            return frozenset()
        if len(gone) > _MOST_GONE_TO_COPY and self.compaction is None:
            if len(self.entries) <= _COPIED_IN_ONE_STEP:
                self._drop_gone(gone)
                return frozenset()
            self.compaction = Compaction(self.entries, gone)
        return frozenset(gone)

    def _drop_gone(self, gone: set[str]) -> None:
        """Drop the paths of deleted children in one step.

        If an exception is raised, nothing has changed.
        """
        self.entries = [path for path in self.entries if path not in gone]
        self.compaction = None
        self.is_shared = False
        self.pieces = self.rest = None
        self.gone = None
        self.gone_bytes = 0

    def grow(self, num_more: i64, bytes_more: i64) -> None:
        """Add to the counts of this directory and of all directories above it."""
        directory: Directory | None = self
        while directory is not None:
            directory.num_below += num_more
            directory.bytes_below += bytes_more
            directory = directory.parent
