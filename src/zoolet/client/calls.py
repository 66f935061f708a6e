"""The requests that kazoo lacks, as calls on a started KazooClient.

A call waits for its answer; one whose name ends in ``_async`` returns kazoo's result at once, whose
``get()`` waits. Each raises kazoo's errors. Imports ``model`` and kazoo.
"""

from collections.abc import Sequence
from typing import Any

from kazoo.client import KazooClient
from kazoo.protocol.serialization import Create, GetChildren, GetData
from kazoo.protocol.states import ZnodeStat

from zoolet.client.requests import (
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
"""The most operations that a server takes in one multiRead: Apache's default since 3.9.7."""


def full_path(client: KazooClient, path: str) -> str:
    """Return the server's name for the client's path, which stands under the client's chroot."""
    chroot: str = client.chroot
    return (chroot or path) if path == paths.ROOT else f"{chroot}{path}"


def call(client: KazooClient, request: Any) -> Any:
    """Send any request; returns kazoo's result, whose ``get()`` waits for the answer."""
    result = client.handler.async_result()
    client._call(request, result)  # noqa: SLF001 -- kazoo's way in for requests of its own
    return result


def create_request(
    client: KazooClient,
    path: str,
    data: bytes | None,
    mode: CreateMode = CreateMode.PERSISTENT,
    acl: AclList = OPEN_ACL,
    ttl_ms: int = 0,
) -> Any:
    """Return the request that creates a znode of any mode; it may be part of a multi.

    ``data`` may be None, which ZooKeeper keeps apart from empty data; ``ttl_ms`` counts only where
    the mode has a TTL.
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
    """Create a znode of any mode; returns its path, with its sequence. See create_request."""
    created = call(client, create_request(client, path, data, mode, acl, ttl_ms)).get()
    return str(client.unchroot(created))


def get_ephemerals(client: KazooClient, prefix: str = paths.ROOT) -> list[str]:
    """Return the paths of this session's ephemerals that begin with ``prefix``."""
    found = call(client, GetEphemerals(full_path(client, prefix))).get()
    return [str(client.unchroot(path)) for path in found]


def count_descendants(client: KazooClient, path: str) -> int:
    """Return how many znodes there are below a path, at any depth (getAllChildrenNumber)."""
    return int(call(client, GetAllChildrenNumber(full_path(client, path))).get())


def who_am_i(client: KazooClient) -> list[Id]:
    """Return the identities that this connection has proven."""
    found: list[Id] = call(client, WhoAmI()).get()
    return found


def get_config(client: KazooClient) -> tuple[bytes | None, ZnodeStat]:
    """Return the ensemble's configuration and its Stat, whatever the client's chroot."""
    found: tuple[bytes | None, ZnodeStat] = call(client, GetData(paths.CONFIG, None)).get()
    return found


def multi_read(
    client: KazooClient, data_of: Sequence[str], children_of: Sequence[str]
) -> list[Any]:
    """Read many znodes in one request, as they all are at one moment (ZooKeeper 3.6 and later).

    Returns (data, Stat) for each path of ``data_of``, then a list of names for each of
    ``children_of``; in place of either the ZookeeperError that it met. More than
    ``MULTI_READ_MAX`` paths take several requests, and each sees the tree of its own moment.
    """
    sent = multi_read_async(client, data_of, children_of)
    return [result for answer in sent for result in answer.get()]


def multi_read_async(
    client: KazooClient, data_of: Sequence[str], children_of: Sequence[str]
) -> list[Any]:
    """Send the requests of `multi_read`; return kazoo's result of each, which is a list."""
    operations = [GetData(full_path(client, path), None) for path in data_of]
    operations += [GetChildren(full_path(client, path), None) for path in children_of]
    parts = [
        operations[start : start + MULTI_READ_MAX]
        for start in range(0, max(len(operations), 1), MULTI_READ_MAX)
    ]
    return [call(client, MultiRead(part)) for part in parts]


def multi_async(client: KazooClient, operations: Sequence[Any]) -> Any:
    """Do several writes, all or none; the result's ``get()`` is a list of answers.

    Where one is refused none is done, and every answer is a ZookeeperError: that one's own, for
    those before it RolledBackError, for those after it RuntimeInconsistency.
    """
    return call(client, Multi(list(operations)))
