"""Reads a subtree with its data and ACLs.

Made by `release.client_methods` from `asyncio_client/subtrees/reading.py`: change that module.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from zoolet.client.thread_client.waiting import FutureRequests, Pending, forget, result_of
from zoolet.client.errors import HiddenAclError, NoNodeError
from zoolet.client.transfers import MULTI_BYTES, exported, is_hidden, is_system
from zoolet.exports.lines import ExportedZnode
from zoolet.model.acl import OPEN_ACL
from zoolet.model.results import AclOf, Visited, ZnodeData

_ACLS_AT_ONCE: Final = 256


class _Read(NamedTuple):
    """A znode whose ACL was asked for; ``asked`` is None if the ACL is not wanted."""

    path: str
    found: ZnodeData
    asked: Pending[AclOf] | None


def read_znodes(
    requests: FutureRequests,
    visits: Iterator[Visited],
    *,
    with_acl: bool,
    without_system: bool,
) -> Iterator[ExportedZnode]:
    """Yield the znodes of a walk with data; without ``with_acl``, with open ACLs.

    With ``without_system``, ZooKeeper's own znodes are left out.
    """
    waiting: deque[_Read] = deque()
    size_bytes = 0
    try:
        for visited in visits:
            if visited.found is None or (without_system and is_system(visited.path)):
                continue
            asked = requests.get_acl(visited.path) if with_acl else None
            waiting.append(_Read(visited.path, visited.found, asked))
            size_bytes += len(visited.found.data or b"")
            while len(waiting) > _ACLS_AT_ONCE or size_bytes > MULTI_BYTES or not with_acl:
                if not waiting:
                    break
                read = waiting.popleft()
                size_bytes -= len(read.found.data or b"")
                znode = _with_acl(read)
                if znode is not None:
                    yield znode
        while waiting:
            znode = _with_acl(waiting.popleft())
            if znode is not None:
                yield znode
    finally:
        for read in waiting:
            if read.asked is not None:
                forget(read.asked)


def _with_acl(read: _Read) -> ExportedZnode | None:
    """Return a znode with its ACL; None if it does not exist any more."""
    if read.asked is None:
        return exported(read.path, read.found, OPEN_ACL)
    try:
        acl = (result_of(read.asked)).acl
    except NoNodeError:
        return None
    if is_hidden(acl):
        raise HiddenAclError("get_acl", read.path)
    return exported(read.path, read.found, acl)
