"""The children of a znode: their paths in order of creation, and counts of them."""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

if TYPE_CHECKING:
    from zoolet.state_machine.name_pieces import NamePieces

_SHORT_LIST: Final = 64
"""From a list of at most this length, a deleted child is removed immediately."""

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
        "created",
        "entries",
        "gone",
        "gone_bytes",
        "is_counted",
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
            if not gone:
                self.gone = None
        else:
            self.entries.append(path)
        self.listing = self.rest = None
        self.grow(1, size_bytes)

    def remove(self, path: str, size_bytes: i64) -> None:
        """Remove a child with ``size_bytes`` bytes of data."""
        if len(self.entries) <= _SHORT_LIST:
            self.entries.remove(path)
        else:
            self._note_gone(path)
            self._change_pieces(path)
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
        num_entries: i64 = len(self.entries)
        if 2 * i64(len(gone)) > num_entries or self.gone_bytes > _GONE_BYTES_EACH * num_entries:
            self._drop_gone(gone)

    @property
    def num_children(self) -> int:
        """The number of children."""
        return len(self.entries) - (0 if self.gone is None else len(self.gone))

    def children(self) -> list[str]:
        """Return the paths of the children, in order of creation; callers must not change it."""
        if self.gone is not None:
            self._drop_gone(self.gone)
        return self.entries

    def listed(self) -> list[str]:
        """Return a list whose first entries stay the current ``entries``, whatever changes later.

        The result may be ``entries`` itself, so the caller must also keep its current length.
        """
        entries = self.entries
        return entries[:] if len(entries) <= _SHORT_LIST else entries

    def copy_gone(self) -> frozenset[str]:
        """Return a copy of ``gone``; if it is large, drop its paths and return an empty set."""
        gone = self.gone
        if gone is None:
            return frozenset()
        if len(gone) > _MOST_GONE_TO_COPY:
            self._drop_gone(gone)
            return frozenset()
        return frozenset(gone)

    def _drop_gone(self, gone: set[str]) -> None:
        """Drop the paths of deleted children; if an exception is raised, nothing has changed."""
        self.entries = [path for path in self.entries if path not in gone]
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
