"""Reads a subtree with its data and ACLs.

`release.client_methods` makes the module of the client for threads from this module. So it contains
nothing that depends on asyncio except ``async`` and ``await``.
"""

from collections import deque
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from zoolet.client.asyncio_client.waiting import FutureRequests, Pending, forget, result_of
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


async def read_znodes(
    requests: FutureRequests,
    visits: AsyncIterator[Visited],
    *,
    with_acl: bool,
    without_system: bool,
) -> AsyncIterator[ExportedZnode]:
    """Yield the znodes of a walk with data; without ``with_acl``, with open ACLs.

    With ``without_system``, ZooKeeper's own znodes are left out.
    """
    waiting: deque[_Read] = deque()
    size_bytes = 0
    try:
        async for visited in visits:
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
                znode = await _with_acl(read)
                if znode is not None:
                    yield znode
        while waiting:
            znode = await _with_acl(waiting.popleft())
            if znode is not None:
                yield znode
    finally:
        for read in waiting:
            if read.asked is not None:
                forget(read.asked)


async def _with_acl(read: _Read) -> ExportedZnode | None:
    """Return a znode with its ACL; None if it does not exist any more."""
    if read.asked is None:
        return exported(read.path, read.found, OPEN_ACL)
    try:
        acl = (await result_of(read.asked)).acl
    except NoNodeError:
        return None
    if is_hidden(acl):
        raise HiddenAclError("get_acl", read.path)
    return exported(read.path, read.found, acl)
