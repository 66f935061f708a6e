"""Converts the operations of a multi for `zoolet.client.Client`, and its results.

A separate module, because mypyc compiles it: most requests of the job system are multis of up to
150 operations. This module imports `zoolet.client` and ``model``.
"""

from collections.abc import Sequence

from zoolet.client.protocol.batches import Multi
from zoolet.jobs.znodes.operations import Create, Delete, Operation, SetData
from zoolet.model.acl import AclList


def multi_of(operations: Sequence[Operation], acl: AclList) -> Multi:
    """Return the multi of these operations; new znodes get the ACL ``acl``."""
    batch = Multi()
    for operation in operations:
        if isinstance(operation, Create):
            batch.create(operation.path, operation.data, mode=operation.mode, acl=acl)
        elif isinstance(operation, Delete):
            batch.delete(operation.path, version=operation.version)
        elif isinstance(operation, SetData):
            batch.set(operation.path, operation.data, version=operation.version)
        else:
            batch.check(operation.path)
    return batch


def created_paths(operations: Sequence[Operation], results: Sequence[object]) -> list[str | None]:
    """Return the path of each new znode, and None for each other operation."""
    return [
        str(result) if isinstance(operation, Create) else None
        for operation, result in zip(operations, results, strict=True)
    ]
