"""The tree of znodes, and the changes that txns make to it.

Each znode is stored as its *record*: the bytes of a getData reply, which are the length of the
data, the data and the Stat. So a read copies nothing, and memory holds the data only in this form;
a change makes a new record. Separate tables hold the attributes that few znodes have: children
(``directories``), an ACL other than OPEN_ACL (``acls``), an owner (``ephemerals``, ``perishable``).

Invariants: the parent of every path except the root is in ``records``. Every path except the root
is in the ``entries`` of its parent's Directory, and not in that Directory's ``gone``.
``ephemerals`` lists exactly the znodes with an ephemeral owner, and ``ephemeral_bytes`` has the
size of their paths. ``num_below`` and ``bytes_below`` of a Directory count all znodes below it, at
every depth. The numChildren, cversion and pzxid of a parent may be outdated in ``records``, because
children change more often than clients read these values: ``record_of`` updates them.
"""

from collections.abc import Iterator
from typing import Final, final

from mypy_extensions import i64

from zoolet.big_endian.buffers import BytesWriter, read_i64_be, write_i32_be, write_i64_be
from zoolet.model import paths
from zoolet.model.acl import OPEN_ACL, READ_ONLY_ACL, AclList
from zoolet.model.codes import ErrorCode
from zoolet.model.errors import RequestError
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.stat import Stat
from zoolet.state_machine.acl_table import OPEN, AclTable, StoredAcl
from zoolet.state_machine.directory import Directory
from zoolet.state_machine.kept import ABSENT, NO_ENTRIES, KeptZnode, KeptZnodes
from zoolet.state_machine.records import RecordTable
from zoolet.state_machine.tables import PathTable, shrunk
from zoolet.state_machine.znode import (
    AVERSION,
    CVERSION,
    NUM_CHILDREN,
    OWNER,
    PZXID,
    Znode,
    data_length,
    encode_record,
    new_record,
    record_with_data,
    set_record,
    stat_of_system_node,
    wrap_int32,
    write_names,
)

_NO_NAMES: Final = bytes(4)
_LONG_RECORD_BYTES: Final = 4096

_MOST_UNCOUNTED: Final = 1000
"""The maximum number of parents with outdated records; above it, their records are updated."""


@final
class Tree:
    """All znodes, by path.

    Attributes:
        records: path to record; a parent's record may be outdated.
        directories: path to Directory, for znodes that have had a child.
        acls: path to ACL, for znodes whose ACL is not OPEN_ACL.
        acl_table: the distinct lists that are in ``acls``.
        ephemerals: session id to the paths of its ephemerals, in order of creation.
        ephemeral_bytes: session id to the number of bytes of these paths in UTF-8.
        perishable: path to owner, for containers and znodes with a TTL. The Stat of such a znode
            has the owner 0 (``DataNode.copyStat``).
        size_bytes: the number of bytes of all paths and data (``DataTree.approximateDataSize``).
        parents: computes the paths of parents.
    """

    def __init__(self) -> None:
        self.records = RecordTable()
        self._find_record = self.records.get  # every read calls it; looking up its name takes long
        self.directories: PathTable[Directory] = PathTable()
        self.acls: PathTable[StoredAcl] = PathTable()
        self.acl_table = AclTable()
        self.ephemerals: dict[int, dict[str, None]] = {}
        self.ephemeral_bytes: dict[int, int] = {}
        self.perishable: PathTable[int] = PathTable()
        self.size_bytes = 0
        self.parents = paths.Parents()
        self._uncounted: dict[str, None] = {}
        self._uncounted_long: dict[str, None] = {}
        self._has_uncounted = False  # whether one of the two tables has a path
        self._kept: list[KeptZnodes] = []

    @classmethod
    def fresh(cls) -> "Tree":
        """Return the tree of a new database: the root and ZooKeeper's own znodes."""
        tree = cls()
        for path in (paths.ROOT, paths.SYSTEM, paths.QUOTA):
            tree.add(path, b"", OPEN_ACL, stat_of_system_node(aversion=0))
        tree.add(paths.CONFIG, b"", READ_ONLY_ACL, stat_of_system_node(aversion=-1))
        tree.count_all_children()
        return tree

    def __len__(self) -> int:
        """Count the znodes."""
        return len(self.records)

    def record_of(self, path: str) -> bytes | None:
        """Return a znode's up-to-date record; None if the znode does not exist."""
        if self._has_uncounted:
            self._count_changed()
            if path in self._uncounted_long:
                self.count_children(path)
                del self._uncounted_long[path]
        return self._find_record(path)

    def all_records(self) -> dict[str, bytes]:
        """Return a new dict with all paths and up-to-date records, parents before children."""
        return {path: self.record_of(path) or b"" for path in self.walk()}

    def walk(self) -> Iterator[str]:
        """Yield every path, parents before children; no znode may be created or deleted meanwhile.

        The order is that of a walk, depth first. Children are in order of creation.
        """
        waiting = [paths.ROOT] if paths.ROOT in self.records else []
        while waiting:
            path = waiting.pop()
            yield path
            waiting += reversed(self.children_of(path))

    def shrink(self) -> None:
        """Reduce the tables to the memory that their entries need."""
        self.records.shrink()
        self.directories.shrink()
        self.acls.shrink()
        self.perishable.shrink()
        self.ephemerals = shrunk(self.ephemerals)
        self.ephemeral_bytes = shrunk(self.ephemeral_bytes)

    def keep_znodes(self) -> KeptZnodes:
        """Until ``forget_kept`` is called, keep the state of each path before its first change.

        So a caller that needs the state of all znodes at this time copies nothing.
        """
        kept = KeptZnodes()
        self._kept.append(kept)
        self.records.forget_marks()
        return kept

    def forget_kept(self, kept: KeptZnodes) -> None:
        """Keep no more states there; do nothing if this has been done already."""
        self._kept = [other for other in self._kept if other is not kept]

    def keeps_only(self, kept: KeptZnodes) -> bool:
        """Return whether states are kept there and nowhere else."""
        return len(self._kept) == 1 and self._kept[0] is kept

    def state_of(self, path: str) -> KeptZnode:
        """Return the current state of a path."""
        record = self.records.get(path)
        if record is None:
            return ABSENT
        acl = self.stored_acl_of(path)
        owner = (self.perishable.get(path) or 0) if self.perishable else 0
        directory = self.directories.get(path)
        if directory is None:
            return KeptZnode.childless(record, acl, owner)
        created, entries = directory.created, directory.listed()
        return KeptZnode(record, acl, owner, created, directory.pzxid, entries)

    def _keep(self, path: str) -> None:
        """Keep the state of a path that is about to change, wherever it is not kept yet."""
        for kept in self._kept:
            if path not in kept:
                kept.put(path, self.state_of(path), self.records)

    def _replace(self, path: str, before: bytes, record: bytes) -> None:
        """Replace a znode's record. A path is marked if its state need not be kept any more."""
        if not self._kept:
            self.records[path] = record
        elif not self.records.change(path, record):
            self._keep(path)
            self.records.mark(path)
            self.records[path] = record
        bytes_more: i64 = i64(len(record)) - len(before)
        if bytes_more != 0:
            self.size_bytes += bytes_more
            if path != paths.ROOT:
                self.directories[self.parents.of(path)].grow(0, bytes_more)

    def find(self, path: str) -> Znode | None:
        """Return the current state of a znode; None if the znode does not exist."""
        record = self.record_of(path)
        if record is None:
            return None
        created = self.created_under(path)
        names = [paths.name_of(child) for child in self.children_of(path)]
        return Znode(record, self.acl_of(path), names, created)

    def znodes(self) -> Iterator[tuple[str, Znode]]:
        """Yield every path and the current state of its znode, parents before children."""
        for path in self.walk():
            node = self.find(path)
            if node is not None:
                yield path, node

    def acl_of(self, path: str) -> AclList:
        """Return the ACL of an existing znode."""
        return self.stored_acl_of(path).entries

    def stored_acl_of(self, path: str) -> StoredAcl:
        """Return the StoredAcl of an existing znode."""
        return (self.acls.get(path) or OPEN) if self.acls else OPEN

    def created_under(self, path: str) -> int:
        """Return the number of times that a child was created under a path."""
        directory = self.directories.get(path)
        return 0 if directory is None else directory.created

    def has_children(self, path: str) -> bool:
        """Return whether a path has children."""
        directory = self.directories.get(path)
        return directory is not None and directory.num_children > 0

    def children_of(self, path: str) -> list[str]:
        """Return the paths of a znode's children, in order of creation; callers only read them."""
        directory = self.directories.get(path)
        return NO_ENTRIES if directory is None else directory.children()

    def encoded_names(self, path: str) -> bytes:
        """Return the names of a znode's children as a jute vector, as in a getChildren reply.

        The encoded names are kept until a child is created or deleted.
        """
        directory = self.directories.get(path)
        if directory is None:
            return _NO_NAMES
        listing = directory.listing
        if listing is None:
            writer = BytesWriter()
            children = directory.children()
            write_i32_be(writer, len(children))
            write_names(writer, children)
            listing = directory.listing = writer.getvalue()
        return listing

    def ephemerals_of(self, session_id: int) -> tuple[str, ...]:
        """Return the paths of a session's ephemerals, in order of creation."""
        return tuple(self.ephemerals.get(session_id, ()))

    def count_below(self, path: str) -> int:
        """Return the number of znodes below a path, at every depth."""
        directory = self.directories.get(path)
        return 0 if directory is None else directory.num_below

    def usage_of(self, path: str) -> tuple[int, int]:
        """Return the number of znodes at and below a path, and the bytes of their data."""
        record = self.records.get(path)
        if record is None:
            return 0, 0
        directory = self.directories.get(path)
        if directory is None:
            return 1, data_length(record)
        return 1 + directory.num_below, data_length(record) + directory.bytes_below

    def _give_acl(self, path: str, acl: StoredAcl) -> None:
        """Set the ACL of a znode that has OPEN_ACL."""
        if acl is not OPEN:
            self.acl_table.use(acl)
            self.acls[path] = acl

    def _take_acl(self, path: str) -> StoredAcl:
        """Reset the ACL of a znode to OPEN_ACL, and return the previous ACL."""
        acl = self.acls.pop(path)
        if acl is None:
            return OPEN
        self.acl_table.release(acl)
        return acl

    # --- Loading

    def add(
        self, path: str, data: bytes | None, acl: AclList, stat: Stat, created: int = 0
    ) -> None:
        """Add a znode to the tree, without changing its parent's Stat.

        As in a snapshot, ``stat`` also has the owner of a container or TTL znode. Raises KeyError
        if the parent does not exist.
        """
        owner = stat.ephemeral_owner
        if owner and OwnerKind.of(owner) is not OwnerKind.SESSION:
            stat = stat._replace(ephemeral_owner=0)
        stored = self.acl_table.find_or_add(acl)
        self.put(path, encode_record(data, stat), stored, created, owner)

    def put(self, path: str, record: bytes, acl: StoredAcl, created: int, owner: int) -> None:
        """Add a znode with a given record to the tree, without changing its parent's Stat.

        ``acl`` must be from ``acl_table``. ``owner`` may be that of a container or TTL znode.
        Raises KeyError if the parent does not exist.
        """
        self.records.fetch_place(path)
        if path != paths.ROOT:
            parent = paths.parent_of(path)
            self._directory(parent, None).add(path, data_length(record))
        if created:
            self._directory(path, record).created = created
        if path in self.acls:  # only a damaged file contains a path twice
            self._take_acl(path)
        self._give_acl(path, acl)
        if owner:
            if OwnerKind.of(owner) is OwnerKind.SESSION:
                self._own(owner, path)
            else:
                self.perishable[path] = owner
        self.records[path] = record
        self.size_bytes += len(path) + data_length(record)

    def count_all_children(self) -> None:
        """Update the Stat of every znode that has had children, after loading."""
        for path in self.directories:
            self.count_children(path)

    def count_children(self, path: str) -> None:
        """Update the Stat of one znode that has had children; loading calls it in steps."""
        directory = self.directories[path]
        before = self.records[path]
        size = len(before)
        num_children = directory.num_children
        writer = BytesWriter()
        writer.write(before[: size - CVERSION])
        write_i32_be(writer, wrap_int32(2 * directory.created - num_children))
        writer.write(before[size - AVERSION : size - NUM_CHILDREN])
        write_i32_be(writer, num_children)
        write_i64_be(writer, directory.pzxid)
        self.records[path] = writer.getvalue()
        directory.is_counted = True

    def _directory(self, path: str, known: bytes | None) -> Directory:
        """Return the directory of a znode; make it from the znode's record if it is missing."""
        directory = self.directories.get(path)
        if directory is None:
            record = self.records[path] if known is None else known
            pzxid = read_i64_be(record, len(record) - PZXID)
            above = None if path == paths.ROOT else self.directories[paths.parent_of(path)]
            directory = self.directories[path] = Directory(pzxid, above)
        return directory

    def _own(self, session_id: int, path: str) -> None:
        """Add a path to the ephemerals of a session."""
        owned = self.ephemerals.get(session_id)
        if owned is None:
            owned = self.ephemerals[session_id] = {}
        owned[path] = None
        size_bytes = self.ephemeral_bytes.get(session_id, 0) + paths.size_bytes(path)
        self.ephemeral_bytes[session_id] = size_bytes

    def _disown(self, session_id: int, path: str) -> None:
        """Remove a path from the ephemerals of a session."""
        owned = self.ephemerals.get(session_id)
        if owned is None:
            return
        del owned[path]
        self.ephemeral_bytes[session_id] -= paths.size_bytes(path)
        if not owned:
            del self.ephemerals[session_id], self.ephemeral_bytes[session_id]

    # --- Changes by txns

    def create(
        self,
        path: str,
        parent: str,
        data: bytes | None,
        acl: AclList,
        owner: int,
        parent_cversion: int,
        zxid: i64,
        time_ms: i64,
    ) -> bytes:
        """Create a znode under ``parent`` and return its record.

        ``owner`` may be that of a container or TTL znode. ``parent_cversion`` is the parent's new
        number of created children; -1 means one more than before. A tree from a snapshot that was
        written while txns were applied may have the znode already, or a greater number of created
        children: neither is changed then (``DataTree.createNode``). Raises NO_NODE, NODE_EXISTS.
        """
        directory = self._directory_to_change(path, parent)
        created = directory.created + 1 if parent_cversion == -1 else parent_cversion
        is_ephemeral = owner != 0 and OwnerKind.of(owner) is OwnerKind.SESSION
        record = new_record(data, owner if is_ephemeral else 0, zxid, time_ms)
        exists = not self.records.add(path, record)
        if not exists:
            directory.add(path, data_length(record))
            if acl is not OPEN_ACL:
                self._give_acl(path, self.acl_table.find_or_add(acl))
            if is_ephemeral:
                self._own(owner, path)
            elif owner:
                self.perishable[path] = owner
            self.size_bytes += len(path) + data_length(record)
        if created > directory.created:
            directory.created = created
            directory.pzxid = zxid
        if exists:
            raise RequestError(ErrorCode.NODE_EXISTS, path)
        return record

    def delete(self, path: str, parent: str, zxid: i64) -> tuple[bytes, StoredAcl]:
        """Delete a znode under ``parent``, and return its record and ACL.

        Raises RequestError (NO_NODE).
        """
        directory = self._directory_to_change(path, parent)
        record = self.records.pop(path)
        if record is not None:
            directory.remove(path, data_length(record))
        directory.pzxid = max(directory.pzxid, zxid)
        if record is None:
            raise RequestError(ErrorCode.NO_NODE, path)
        self.size_bytes -= len(path) + data_length(record)
        if self.directories.pop(path) is not None:
            self._uncounted.pop(path, None)
            self._uncounted_long.pop(path, None)
        acl = self._take_acl(path) if self.acls else OPEN
        owner = read_i64_be(record, len(record) - OWNER)
        if owner != 0:
            self._disown(owner, path)
        if self.perishable:
            self.perishable.pop(path)
        return record, acl

    def set_data(
        self, path: str, data: bytes | None, version: int, zxid: i64, time_ms: i64
    ) -> bytes:
        """Replace a znode's data and return its record; raises RequestError (NO_NODE)."""
        before = self._existing(path)
        record = set_record(before, data, version, zxid, time_ms)
        self._replace(path, before, record)
        return record

    def set_acl(self, path: str, acl: AclList, version: int) -> bytes:
        """Replace a znode's ACL and return its record; raises RequestError (NO_NODE)."""
        before = self._existing(path)
        if self._kept:
            self._keep(path)
        stored = self.acl_table.find_or_add(acl)
        if stored is not self.stored_acl_of(path):
            self._take_acl(path)
            self._give_acl(path, stored)
        writer = BytesWriter()
        writer.write(before[: len(before) - AVERSION])
        write_i32_be(writer, version)
        writer.write(before[len(before) - OWNER :])
        record = self.records[path] = writer.getvalue()
        return record

    def replace_data(self, path: str, data: bytes) -> bytes:
        """Replace a znode's data and return its record; of its Stat, only the data length changes.

        Raises KeyError if the znode does not exist.
        """
        before = self.records[path]
        record = record_with_data(before, data)
        self._replace(path, before, record)
        return record

    def _count_changed(self) -> None:
        """Update the records of all znodes in ``_uncounted``, whose children have changed."""
        for path in self._uncounted:
            self.count_children(path)
        self._uncounted.clear()
        self._has_uncounted = len(self._uncounted_long) > 0

    def _directory_to_change(self, path: str, parent: str) -> Directory:
        """Return the directory of ``parent``, for a change of it; raises RequestError (NO_NODE)."""
        if self._kept:
            self._keep(parent)
            self._keep(path)
        directory = self.directories.get(parent)
        if directory is None:
            record = self.records.get(parent)
            if record is None:
                raise RequestError(ErrorCode.NO_NODE, path)
            directory = self._directory(parent, record)
        if directory.is_counted:
            if len(self._uncounted) >= _MOST_UNCOUNTED:
                self._count_changed()
            directory.is_counted = False
            self._has_uncounted = True
            # A long record is updated only when a client reads this znode.
            if len(self.records[parent]) > _LONG_RECORD_BYTES:
                self._uncounted_long[parent] = None
            else:
                self._uncounted[parent] = None
        return directory

    def _existing(self, path: str) -> bytes:
        """Return the up-to-date record of a znode; raises RequestError (NO_NODE)."""
        record = self.record_of(path)
        if record is None:
            raise RequestError(ErrorCode.NO_NODE, path)
        return record
