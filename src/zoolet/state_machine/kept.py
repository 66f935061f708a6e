"""The earlier states of znodes, which the tree keeps for an image of one moment.

Invariant: the state of a path at that moment is the kept one if there is one; otherwise it is the
current state. This is so until the content of the image has the path; then it has no kept state.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from zoolet.big_endian.buffers import read_i64_be
from zoolet.state_machine.acl_table import OPEN, StoredAcl
from zoolet.state_machine.records import RecordTable
from zoolet.state_machine.tables import PathTable
from zoolet.state_machine.znode import PZXID

NO_ENTRIES: Final[list[str]] = []


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class KeptZnode:
    """The state of one znode at one moment.

    Attributes:
        record: its record; pzxid and the fields about its children may be outdated in it.
        acl: its ACL.
        owner: its owner in ``Tree.perishable``; 0 if it has none there.
        created: the number of times that a child was created under it.
        pzxid: the zxid of the last txn that created or deleted a child.
        entries: a list that begins with the paths of its children, in order of creation. Some of
            these paths may have no znode at the moment.
        num_entries: the number of these paths; the list may have more, which are later children.
    """

    __slots__ = ("acl", "created", "entries", "num_entries", "owner", "pzxid", "record")

    def __init__(
        self,
        record: bytes,
        acl: StoredAcl,
        owner: int,
        created: int,
        pzxid: i64,
        entries: list[str],
    ) -> None:
        self.record = record
        self.acl = acl
        self.owner = owner
        self.created = created
        self.pzxid: i64 = pzxid
        self.entries = entries
        self.num_entries: i64 = len(entries)

    @classmethod
    def childless(cls, record: bytes, acl: StoredAcl, owner: int) -> "KeptZnode":
        """Return the state of a znode that never had a child."""
        return cls(record, acl, owner, 0, read_i64_be(record, len(record) - PZXID), NO_ENTRIES)

    @property
    def is_plain(self) -> bool:
        """Whether this is a znode about which only its record says something."""
        is_childless = self.entries is NO_ENTRIES and self is not ABSENT  # it never had a child
        return is_childless and self.acl is OPEN and self.owner == 0


ABSENT: Final = KeptZnode(b"", OPEN, 0, 0, 0, NO_ENTRIES)
"""The state of a path that has no znode."""


@final
class KeptZnodes:
    """The states that are kept for one image.

    Attributes:
        plain: path to record, for plain znodes. They need less memory here.
        others: path to state, for all others.
    """

    def __init__(self) -> None:
        self.plain = RecordTable()
        self.others: PathTable[KeptZnode] = PathTable()

    def __contains__(self, path: str) -> bool:
        return path in self.plain or path in self.others

    def put(self, path: str, znode: KeptZnode, records: RecordTable) -> None:
        """Keep the current state of a path, of which no state is kept yet."""
        if znode.is_plain:
            records.copy_to(path, self.plain)
        else:
            self.others[path] = znode

    def drop_some(self) -> bool:
        """Drop some of the states, which are not needed any more; return whether some remain."""
        return self.plain.drop_some() or self.others.drop_some()
