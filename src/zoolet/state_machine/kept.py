"""The earlier states of znodes, which the tree keeps for an image of one moment.

Invariant: the state of a path at that moment is in the table of kept states if the table has the
path; otherwise it is the current state.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from zoolet.state_machine.acl_table import OPEN, StoredAcl

NO_ENTRIES: Final[list[str]] = []


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class KeptZnode:
    """The state of one znode at one moment, as ``Tree.keep_znodes`` keeps it.

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


ABSENT: Final = KeptZnode(b"", OPEN, 0, 0, 0, NO_ENTRIES)
"""The state of a path that has no znode."""
