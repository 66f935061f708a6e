"""What is kept of a znode's children: their paths in order of creation, and how many there were."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

_SHORT_LIST: Final = 64
"""Out of a list of this length a deleted child is taken at once."""

_GONE_BYTES_EACH: Final = 100
"""A directory keeps at most this much of the paths of deleted children, for each in its list."""

_MOST_GONE_TO_COPY: Final = 1000


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Directory:
    """What a znode keeps of its children; one that never had any keeps none.

    Attributes:
        entries: the paths of its children in order of creation, the very keys of the tree unless a
            child was created again; also the paths in ``gone``. A long list only grows; when paths
            are dropped, a new list takes its place. So whoever keeps the list and its length keeps
            what it was, without a copy.
        gone: the paths of children that are deleted and still in ``entries``; None: there are none.
            A short list has none.
        gone_bytes: the characters in these paths.
        parent: the directory in which the znode is an entry; None for the root.
        num_below: the number of znodes below the znode, at every depth.
        bytes_below: the bytes of their data.
        changes: the number of times that a child came or went; a list that takes several steps to
            encode is kept only if this has not changed.
        created: how often a child was created under it: the next sequential child's number. The
            Stat's cversion counts deletions too, and does not say this past 2**30.
        pzxid: of the last txn that counted a child more or less.
        is_counted: whether the znode's Stat says all this already.
        listing: the children's names as getChildren answers them, once they were asked for.
    """

    __slots__ = (
        "bytes_below",
        "changes",
        "created",
        "entries",
        "gone",
        "gone_bytes",
        "is_counted",
        "listing",
        "num_below",
        "parent",
        "pzxid",
    )

    def __init__(self, pzxid: i64, parent: "Directory | None") -> None:
        self.entries: list[str] = []
        self.gone: set[str] | None = None
        self.gone_bytes: i64 = 0
        self.parent = parent
        self.num_below: i64 = 0
        self.bytes_below: i64 = 0
        self.changes: i64 = 0
        self.created = 0
        self.pzxid: i64 = pzxid
        self.is_counted = True
        self.listing: bytes | None = None

    def add(self, path: str, size_bytes: i64) -> None:
        """Note a new child with ``size_bytes`` bytes of data.

        It keeps the place of a former child with this path that is still in ``entries``.
        """
        gone = self.gone
        if gone is not None and path in gone:
            gone.remove(path)
            self.gone_bytes -= len(path)
            if not gone:
                self.gone = None
        else:
            self.entries.append(path)
        self.changes += 1
        self.listing = None
        self.grow(1, size_bytes)

    def remove(self, path: str, size_bytes: i64) -> None:
        """Note that a child with ``size_bytes`` bytes of data is gone."""
        if len(self.entries) <= _SHORT_LIST:
            self.entries.remove(path)
        else:
            self._note_gone(path)
        self.changes += 1
        self.listing = None
        self.grow(-1, -size_bytes)

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
        """Return the paths of its children, in order of creation; callers only read it."""
        if self.gone is not None:
            self._drop_gone(self.gone)
        return self.entries

    def copy_gone(self) -> frozenset[str]:
        """Return a copy of ``gone``; much is dropped instead, so that the copy takes no time."""
        gone = self.gone
        if gone is None:
            return frozenset()
        if len(gone) > _MOST_GONE_TO_COPY:
            self._drop_gone(gone)
            return frozenset()
        return frozenset(gone)

    def _drop_gone(self, gone: set[str]) -> None:
        """Take the paths of deleted children out of the list; after an error it is as before."""
        self.entries = [path for path in self.entries if path not in gone]
        self.gone = None
        self.gone_bytes = 0

    def grow(self, num_more: i64, bytes_more: i64) -> None:
        """Add to what is below this znode and below every znode above it."""
        directory: Directory | None = self
        while directory is not None:
            directory.num_below += num_more
            directory.bytes_below += bytes_more
            directory = directory.parent
