"""The requests that kazoo lacks, as functions that take a started KazooClient.

A function waits for the reply. A function whose name ends in ``_async`` returns kazoo's result
object without a wait; the ``get()`` of this object waits. Each function raises kazoo's errors.
Imports ``model`` and kazoo.
"""

from collections.abc import Sequence
from typing import Any

from kazoo.client import KazooClient
from kazoo.protocol.serialization import Create, GetChildren, GetData
from kazoo.protocol.states import ZnodeStat

from zoolet.client.kazoo.requests import (
    CreateContainer,
    CreateTtl,
    GetAllChildrenNumber,
    GetEphemerals,
    Multi,
    MultiRead,
    WhoAmI,
)
from zoolet.model import paths
from zoolet.model.acl import OPEN_ACL, AclList, Id
from zoolet.model.codes import CreateMode

MULTI_READ_MAX = 1000
"""The most operations that a server accepts in one multiRead: Apache's default since 3.9.7."""


def full_path(client: KazooClient, path: str) -> str:
    """Return the path on the server for a path that is relative to the client's chroot."""
    chroot: str = client.chroot
    return (chroot or path) if path == paths.ROOT else f"{chroot}{path}"


def call(client: KazooClient, request: Any) -> Any:
    """Send any request; return kazoo's result object, whose ``get()`` waits for the reply."""
    result = client.handler.async_result()
    client._call(request, result)  # noqa: SLF001 -- kazoo's own requests use it too
    return result


def create_request(
    client: KazooClient,
    path: str,
    data: bytes | None,
    mode: CreateMode = CreateMode.PERSISTENT,
    acl: AclList = OPEN_ACL,
    ttl_ms: int = 0,
) -> Any:
    """Return the request that creates a znode of any mode; it can be part of a multi.

    ``data`` can be None for null data, which ZooKeeper distinguishes from empty data. ``ttl_ms`` is
    used only if the mode has a TTL.
    """
    path = full_path(client, path)
    if mode.has_ttl:
        return CreateTtl(path, data, acl, int(mode), ttl_ms)
    record = CreateContainer if mode is CreateMode.CONTAINER else Create
    return record(path, data, acl, int(mode))


def create(
    client: KazooClient,
    path: str,
    data: bytes | None,
    mode: CreateMode = CreateMode.PERSISTENT,
    acl: AclList = OPEN_ACL,
    ttl_ms: int = 0,
) -> str:
    """Create a znode of any mode and return its path, with the sequence number if it has one.

    The arguments are those of create_request.
    """
    created = call(client, create_request(client, path, data, mode, acl, ttl_ms)).get()
    return str(client.unchroot(created))


def get_ephemerals(client: KazooClient, prefix: str = paths.ROOT) -> list[str]:
    """Return the paths of this session's ephemerals that begin with ``prefix``."""
    found = call(client, GetEphemerals(full_path(client, prefix))).get()
    return [str(client.unchroot(path)) for path in found]


def count_descendants(client: KazooClient, path: str) -> int:
    """Return the number of descendants of a znode (getAllChildrenNumber)."""
    return int(call(client, GetAllChildrenNumber(full_path(client, path))).get())


def who_am_i(client: KazooClient) -> list[Id]:
    """Return the authenticated identities of this connection."""
    found: list[Id] = call(client, WhoAmI()).get()
    return found


def get_config(client: KazooClient) -> tuple[bytes | None, ZnodeStat]:
    """Return the ensemble's configuration and its Stat; the client's chroot is ignored."""
    found: tuple[bytes | None, ZnodeStat] = call(client, GetData(paths.CONFIG, None)).get()
    return found


def multi_read(
    client: KazooClient, data_of: Sequence[str], children_of: Sequence[str]
) -> list[Any]:
    """Read many znodes in one request, which is atomic (ZooKeeper 3.6 and later).

    Returns (data, Stat) for each path of ``data_of``, then the list of child names for each path of
    ``children_of``. If a read fails, its result is the ZookeeperError. More than ``MULTI_READ_MAX``
    paths need several requests, which may see different states of the tree.
    """
    sent = multi_read_async(client, data_of, children_of)
    return [result for answer in sent for result in answer.get()]


def multi_read_async(
    client: KazooClient, data_of: Sequence[str], children_of: Sequence[str]
) -> list[Any]:
    """Send the requests of `multi_read`; return kazoo's result object of each request."""
    operations = [GetData(full_path(client, path), None) for path in data_of]
    operations += [GetChildren(full_path(client, path), None) for path in children_of]
    parts = [
        operations[start : start + MULTI_READ_MAX]
        for start in range(0, max(len(operations), 1), MULTI_READ_MAX)
    ]
    return [call(client, MultiRead(part)) for part in parts]


def multi_async(client: KazooClient, operations: Sequence[Any]) -> Any:
    """Send several writes as one atomic multi; the result's ``get()`` returns a list of results.

    If an operation fails, the server does none of them, and every result is a ZookeeperError: the
    error of the failed operation, RolledBackError for the operations before it, and
    RuntimeInconsistency for the operations after it.
    """
    return call(client, Multi(list(operations)))
