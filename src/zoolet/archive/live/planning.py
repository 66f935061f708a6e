"""Reads a subtree of a running server, and plans how to make it equal to a state.

This module sends only reads. It imports the client, ``model`` and ``state_machine``.
"""

from collections.abc import AsyncIterator

from zoolet.archive.errors import ArchiveError
from zoolet.archive.live.comparing import compare
from zoolet.archive.live.plan import Plan
from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.errors import HiddenAclError, NoAuthError
from zoolet.exports.lines import ExportedZnode
from zoolet.model import paths
from zoolet.state_machine.tree import Tree


async def plan_restore(client: AsyncClient, tree: Tree, root: str, most_counter_steps: int) -> Plan:
    """Return the changes that make the subtree ``root`` of a server equal to a state.

    Args:
        client: a client without a chroot, which may read the whole subtree with its ACLs.
        tree: the state; it must have ``root``.
        root: the root of the subtree.
        most_counter_steps: see ``comparing.compare``.

    Raises:
        ArchiveError: the client may not read a znode.
        ZooKeeperError: the connection or the session was lost.
    """
    await client.sync(root)  # a follower or an observer may be behind the leader
    missing_above = await _missing_above(client, root)
    is_there = not missing_above and await client.exists(root) is not None
    present = client.read_subtree(root) if is_there else _nothing()
    try:
        return await compare(tree, root, missing_above, present, most_counter_steps)
    except (NoAuthError, HiddenAclError) as error:
        raise ArchiveError(
            f"the server does not show {error.path} and its ACL completely. Log in with --auth, as"
            " an identity that has the permissions READ and ADMIN there, or as the superuser."
        ) from error


async def _missing_above(client: AsyncClient, root: str) -> list[str]:
    """Return the ancestors of a znode that do not exist, from above."""
    above = []
    path = root
    while path != paths.ROOT:
        path = paths.parent_of(path)
        above.append(path)
    above.reverse()
    for number, path in enumerate(above):
        if await client.exists(path) is None:
            return above[number:]
    return []


async def _nothing() -> AsyncIterator[ExportedZnode]:
    nothing: tuple[ExportedZnode, ...] = ()
    for znode in nothing:
        yield znode
