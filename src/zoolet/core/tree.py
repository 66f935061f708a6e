"""The tree of znodes, and the changes that txns make to it.

A znode is kept as the bytes that answer a getData: its data behind their length, then its Stat.
Reading copies nothing and memory holds each datum once; changing makes new bytes. Both spellings of
the root ("" and "/") are keys of ``nodes``, as in the original's ``DataTree``.

Invariants: every znode but the root has its parent in ``nodes`` and its name in the parent's
``children``; ``ephemerals`` lists exactly the znodes with an ephemeral owner.
"""

import struct
from collections.abc import Iterable

from zoolet.model import paths
from zoolet.model.acl import OPEN_ACL, READ_ONLY_ACL, AclList
from zoolet.model.codes import ErrorCode
from zoolet.model.errors import RequestError
from zoolet.model.owners import OwnerKind, ttl_of
from zoolet.model.stat import STAT, Stat

_LENGTH = struct.Struct(">i")
_NULL_DATA = _LENGTH.pack(-1)
_NO_NAMES: dict[str, None] = {}

STAT_BYTES = STAT.size
RECORD_BYTES_BESIDE_DATA = _LENGTH.size + STAT_BYTES


def wrap_int32(value: int) -> int:
    """Return what is left of ``value`` in Java's int: 2**31 wraps to -2**31."""
    return (value + 0x80000000 & 0xFFFFFFFF) - 0x80000000


class Znode:
    """One znode.

    Attributes:
        record: its data as a jute buffer, then its packed Stat: the body of a getData reply.
        acl: its access control list; the very object OPEN_ACL where everyone may do everything.
        children: the names of its children in order of creation; None while it has had none.
        created: how often a child was created under it: the next sequential child's number. The
            Stat's cversion counts deletions too, and does not say this past 2**30.
    """

    __slots__ = ("acl", "children", "created", "record")

    def __init__(self, record: bytes, acl: AclList, created: int = 0) -> None:
        self.record = record
        self.acl = acl
        self.children: dict[str, None] | None = None
        self.created = created

    @property
    def data(self) -> bytes | None:
        """The data; None where null was written."""
        (size_bytes,) = _LENGTH.unpack_from(self.record)
        return None if size_bytes < 0 else self.record[_LENGTH.size : -STAT_BYTES]

    @property
    def packed_stat(self) -> bytes:
        """The Stat as replies carry it."""
        return self.record[-STAT_BYTES:]

    @property
    def stat(self) -> Stat:
        """The Stat."""
        return Stat.unpack(self.record, len(self.record) - STAT_BYTES)

    @property
    def names(self) -> dict[str, None]:
        """The names of its children, in order of creation."""
        return _NO_NAMES if self.children is None else self.children

    def set_stat(self, stat: Stat) -> None:
        """Replace the Stat and keep the data."""
        self.record = self.record[:-STAT_BYTES] + stat.pack()

    def replace_data(self, data: bytes) -> None:
        """Replace the data without a trace of it in the Stat, but for its length."""
        self.record = encode_record(data, self.stat._replace(data_length=len(data)))

    def count_children(self, pzxid: int) -> None:
        """Bring the Stat up to date after a child came or went."""
        num_children = len(self.names)
        self.set_stat(
            self.stat._replace(
                cversion=wrap_int32(2 * self.created - num_children),
                num_children=num_children,
                pzxid=pzxid,
            )
        )


def encode_record(data: bytes | None, stat: Stat) -> bytes:
    """Return what ``Znode.record`` holds."""
    if data is None:
        return _NULL_DATA + stat.pack()
    return _LENGTH.pack(len(data)) + data + stat.pack()


class Tree:
    """All znodes, by path, and who owns the ephemeral ones.

    Attributes:
        nodes: path to znode.
        ephemerals: session id to the paths of its ephemerals, in order of creation.
        size_bytes: of all paths and data (``DataTree.approximateDataSize``).
        perishable: the paths of containers and of znodes with a TTL, each with the owner that says
            so; the Stat of such a znode names no owner (``DataNode.copyStat``).
    """

    def __init__(self) -> None:
        self.nodes: dict[str, Znode] = {}
        self.ephemerals: dict[int, dict[str, None]] = {}
        self.perishable: dict[str, int] = {}
        self.size_bytes = 0
        self._acls: dict[AclList, AclList] = {OPEN_ACL: OPEN_ACL}

    @classmethod
    def fresh(cls) -> "Tree":
        """Return the tree of a server that has never run: the root and ZooKeeper's own znodes."""
        tree = cls()
        for path in ("", paths.SYSTEM, paths.QUOTA):
            tree.add(path, b"", OPEN_ACL, _stat_of_system_node(aversion=0))
        tree.add(paths.CONFIG, b"", READ_ONLY_ACL, _stat_of_system_node(aversion=-1))
        for path in ("", paths.SYSTEM):
            tree.nodes[path].count_children(pzxid=0)
        return tree

    def __len__(self) -> int:
        """Count the znodes, the root once."""
        return len(self.nodes) - 1

    def intern_acl(self, acl: AclList) -> AclList:
        """Return the one object that stands for this list here."""
        return self._acls.setdefault(acl, acl)

    def add(
        self, path: str, data: bytes | None, acl: AclList, stat: Stat, created: int = 0
    ) -> Znode:
        """Put a znode into the tree; its parent's Stat stays as it is.

        ``stat`` has the owner as files keep it. Raises KeyError where the parent is missing.
        """
        owner = stat.ephemeral_owner
        if owner and OwnerKind.of(owner) is not OwnerKind.SESSION:
            self.perishable[path] = owner
            stat = stat._replace(ephemeral_owner=0)
        elif owner:
            self.ephemerals.setdefault(owner, {})[path] = None
        node = Znode(encode_record(data, stat), self.intern_acl(acl), created)
        self.size_bytes += len(path) + stat.data_length
        self._put(path, node)
        return node

    def put(self, path: str, record: bytes, acl: AclList, created: int, owner: int) -> None:
        """Put a znode into the tree whose record is made already; ``owner`` is as files keep it.

        ``acl`` is one that intern_acl has returned. Raises KeyError where the parent is missing.
        """
        if owner:
            if OwnerKind.of(owner) is OwnerKind.SESSION:
                self.ephemerals.setdefault(owner, {})[path] = None
            else:
                self.perishable[path] = owner
        self._put(path, Znode(record, acl, created))
        self.size_bytes += len(path) + len(record) - RECORD_BYTES_BESIDE_DATA

    def _put(self, path: str, node: Znode) -> None:
        if path:
            parent_path, _, name = path.rpartition("/")
            parent = self.nodes[parent_path]
            if parent.children is None:
                parent.children = {}
            parent.children[name] = None
        else:
            self.nodes[paths.ROOT] = node
        self.nodes[path] = node

    def create(
        self,
        path: str,
        data: bytes | None,
        acl: AclList,
        ephemeral_owner: int,
        parent_cversion: int,
        zxid: int,
        time_ms: int,
    ) -> Znode:
        """Create a znode; ``parent_cversion`` is what the parent's count becomes, -1 one more.

        A snapshot that was taken while txns went on may hold the znode already, or the parent a
        greater count: neither goes back (``DataTree.createNode``). Raises RequestError (NO_NODE,
        NODE_EXISTS).
        """
        parent = self.nodes.get(paths.parent_of(path))
        if parent is None:
            raise RequestError(ErrorCode.NO_NODE, path)
        created = parent.created + 1 if parent_cversion == -1 else parent_cversion
        exists = path in self.nodes
        if not exists:
            stat = Stat(
                czxid=zxid,
                mzxid=zxid,
                ctime=time_ms,
                mtime=time_ms,
                version=0,
                cversion=0,
                aversion=0,
                ephemeral_owner=ephemeral_owner,
                data_length=len(data) if data is not None else 0,
                num_children=0,
                pzxid=zxid,
            )
            self.add(path, data, acl, stat)
        if created > parent.created:
            parent.created = created
            parent.count_children(zxid)
        else:
            parent.count_children(parent.stat.pzxid)
        if exists:
            raise RequestError(ErrorCode.NODE_EXISTS, path)
        return self.nodes[path]

    def delete(self, path: str, zxid: int) -> Znode:
        """Take a znode out and return it; raises RequestError (NO_NODE)."""
        parent = self.nodes.get(paths.parent_of(path))
        if parent is None:
            raise RequestError(ErrorCode.NO_NODE, path)
        if parent.children is not None:
            parent.children.pop(paths.name_of(path), None)
        parent.count_children(max(zxid, parent.stat.pzxid))
        node = self.nodes.pop(path, None)
        if node is None:
            raise RequestError(ErrorCode.NO_NODE, path)
        stat = node.stat
        self.size_bytes -= len(path) + stat.data_length
        owner = stat.ephemeral_owner
        if owner and (owned := self.ephemerals.get(owner)) is not None:
            owned.pop(path, None)
            if not owned:
                del self.ephemerals[owner]
        self.perishable.pop(path, None)
        return node

    def set_data(
        self, path: str, data: bytes | None, version: int, zxid: int, time_ms: int
    ) -> Znode:
        """Replace a znode's data; raises RequestError (NO_NODE)."""
        node = self._existing(path)
        before = node.stat
        length = len(data) if data is not None else 0
        stat = before._replace(mzxid=zxid, mtime=time_ms, version=version, data_length=length)
        self.size_bytes += length - before.data_length
        node.record = encode_record(data, stat)
        return node

    def set_acl(self, path: str, acl: AclList, version: int) -> Znode:
        """Replace a znode's ACL; raises RequestError (NO_NODE)."""
        node = self._existing(path)
        node.acl = self.intern_acl(acl)
        node.set_stat(node.stat._replace(aversion=version))
        return node

    def perished(self, time_ms: int, unused_ms: int = 0) -> list[str]:
        """Return the containers and TTL znodes that are to go at ``time_ms`` since the epoch.

        That is: containers that have had a child and have none, or (unless ``unused_ms`` is 0)
        never had one for so long, and znodes without children that nobody has written to for their
        TTL (``ContainerManager.getCandidates``).
        """
        found = []
        for path, owner in self.perishable.items():
            node = self.nodes[path]
            if node.children:
                continue
            age_ms = time_ms - node.stat.mtime
            if OwnerKind.of(owner) is OwnerKind.TTL:
                is_over = age_ms > ttl_of(owner)
            else:
                is_over = node.created > 0 or 0 < unused_ms < age_ms
            if is_over:
                found.append(path)
        return found

    def ephemerals_of(self, session_id: int) -> Iterable[str]:
        """Return the paths of the ephemerals that go with a session, in order of creation."""
        return tuple(self.ephemerals.get(session_id, ()))

    def _existing(self, path: str) -> Znode:
        node = self.nodes.get(path)
        if node is None:
            raise RequestError(ErrorCode.NO_NODE, path)
        return node


def _stat_of_system_node(aversion: int) -> Stat:
    return Stat(0, 0, 0, 0, 0, 0, aversion, 0, 0, 0, 0)
