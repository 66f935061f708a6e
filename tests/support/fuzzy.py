"""Snapshots as Apache ZooKeeper writes them: znode by znode, while txns go on.

In the order of ``FileTxnSnapLog.save``: first the zxid is noted, then the sessions are copied, then
the table of ACLs, then the znodes, each as it is at that moment.
"""

import zlib
from pathlib import Path

from tests.support.writer import DISK, Writer
from zoolet.model import paths
from zoolet.model.acl import OPEN_ACL, AclList
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.znode import Znode
from zoolet.storage.files import snapshot_name
from zoolet.storage.snapshots import SNAPSHOT_HEADER
from zoolet.wire.jute import INT, LONG, pack_acl, pack_buffer, pack_ustring


class AclNumbers:
    """The numbers that a server gives to the ACLs it has seen; none is given twice."""

    def __init__(self) -> None:
        self._numbers: dict[AclList, int] = {}

    def of(self, acl: AclList) -> int:
        """Return the number of an ACL."""
        return -1 if acl == OPEN_ACL else self._numbers.setdefault(acl, len(self._numbers) + 1)


class FuzzyContent:
    """The content of a snapshot, between its header and its seal, that is being written.

    Attributes:
        written: the bytes that are written so far.
        waiting: the paths of znodes that are not written yet, as far as they are known.
    """

    def __init__(self, machine: StateMachine, numbers: AclNumbers) -> None:
        """Write all that comes before the znodes."""
        self._machine = machine
        self._numbers = numbers
        sessions = machine.sessions.by_id.values()
        lists = [stored.entries for stored in machine.tree.acls.values()]
        acls = {numbers.of(acl): acl for acl in lists if acl != OPEN_ACL}
        self.written = INT.pack(len(sessions))
        for session in sessions:
            self.written += LONG.pack(session.session_id) + INT.pack(session.timeout_ms)
        self.written += INT.pack(len(acls))
        for number, acl in acls.items():
            self.written += LONG.pack(number) + pack_acl(acl)
        self.waiting = [paths.ROOT]

    def step(self) -> bool:
        """Write the next znode, if it is still there; False: there is none left."""
        if not self.waiting:
            return False
        path = self.waiting.pop()
        node = self._machine.tree.find(path)
        if node is not None:
            self.written += self._znode(path, node)
            self.waiting += [paths.join(path, name) for name in node.names]
        return True

    def finish(self) -> bytes:
        """Write the rest; return all bytes."""
        while self.step():
            pass
        self.written += pack_ustring("/")
        return self.written

    def _znode(self, path: str, node: Znode) -> bytes:
        stat = node.stat
        owner = self._machine.tree.perishable.get(path) or stat.ephemeral_owner
        numbers = (stat.czxid, stat.mzxid, stat.ctime, stat.mtime)
        return (
            pack_ustring("" if path == paths.ROOT else path)
            + pack_buffer(node.data)
            + LONG.pack(self._numbers.of(node.acl))
            + b"".join(LONG.pack(number) for number in numbers)
            + b"".join(INT.pack(number) for number in (stat.version, node.created, stat.aversion))
            + LONG.pack(owner)
            + LONG.pack(stat.pzxid)
        )


class FuzzySnapshot:
    """A snapshot of a writer's state that is being written."""

    def __init__(self, writer: Writer, numbers: AclNumbers) -> None:
        """Write all that comes before the znodes."""
        self._directory = writer.directories.snapshots
        self._zxid = writer.machine.zxid
        self._content = FuzzyContent(writer.machine, numbers)
        self._bytes = SNAPSHOT_HEADER

    @property
    def waiting(self) -> list[str]:
        """The paths of znodes that are not written yet, as far as they are known."""
        return self._content.waiting

    def step(self) -> bool:
        """Write the next znode, if it is still there; False: there is none left."""
        return self._content.step()

    def finish(self, *, is_digested: bool = False) -> Path:
        """Write the rest; ``is_digested``: with the parts that may follow the first seal."""
        self._bytes += self._content.finish()
        self._seal()
        if is_digested:
            self._bytes += LONG.pack(self._zxid) + INT.pack(2) + LONG.pack(12345)
            self._seal()
            self._bytes += LONG.pack(self._zxid)
            self._seal()
        path = self._directory / snapshot_name(self._zxid)
        path.write_bytes(self._bytes)
        DISK.sync_directory(path.parent)
        return path

    def _seal(self) -> None:
        self._bytes += LONG.pack(zlib.adler32(self._bytes)) + pack_ustring("/")
