"""The counter of a parent, from which sequential znodes get their numbers.

ZooKeeper has no request that sets the counter. It counts the creates below a parent, and deletes do
not change it. So this module creates znodes and deletes them in the same multi: no reader sees
them, but watches of the parent's children are triggered. Source: ``DataTree.createNode`` and
``DataNode.copyStat``, which shows twice the creates less the children as ``cversion``.

Imports ``model`` and ``client``.
"""

import uuid
from typing import Final

from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.errors import NoNodeError
from zoolet.client.protocol.batches import Multi
from zoolet.client.transfers import MULTI_BYTES, OPERATION_BYTES
from zoolet.model import paths
from zoolet.model.stat import Stat

_COUNTING_NAME: Final = "zoolet-counter-"
"""The beginning of the names of the znodes that are created and deleted."""

_STEPS_IN_MULTI: Final = 250
"""The most steps of a multi. A step takes two operations: a create and a delete."""

_NAME_BYTES: Final = 64
"""An upper bound of the length of a name that begins with `_COUNTING_NAME`, with its slash."""


def counter_of(stat: Stat) -> int:
    """Return the counter of a znode: the number of the next sequential child.

    ``cversion`` has 32 bits and may have overflowed.
    """
    return ((stat.cversion + stat.num_children) & 0xFFFF_FFFF) >> 1


async def raise_counter(client: AsyncClient, parent: str, wanted: int, most_steps: int) -> int:
    """Raise the counter of ``parent`` to at least ``wanted``; return the counter that it has then.

    The result is lower than ``wanted`` if this takes more than ``most_steps`` creates: then this
    call creates nothing. A call that is repeated after a lost reply does not count too far.

    Raises:
        NoNodeError: ``parent`` does not exist.
        NoAuthError: the client may not create or delete children of ``parent``.
        ConnectionLossError: a reply was lost; the counter may be between both values.
    """
    left = most_steps
    while True:
        stat = await client.exists(parent)
        if stat is None:
            raise NoNodeError("raise_counter", parent)
        counter = counter_of(stat)
        if counter >= wanted or wanted - counter > left:
            return counter
        steps = steps_in_multi(parent, wanted - counter)
        batch = Multi()
        add_steps(batch, parent, steps)
        await client.multi(batch)
        left -= steps


def steps_in_multi(parent: str, wanted: int) -> int:
    """Return how many of the ``wanted`` steps below a parent fit one multi; at least one."""
    return max(1, min(wanted, _STEPS_IN_MULTI, MULTI_BYTES // step_bytes(parent)))


def step_bytes(parent: str) -> int:
    """Return an upper bound of the bytes of one step in a multi."""
    return 2 * (paths.size_bytes(parent) + _NAME_BYTES + OPERATION_BYTES)


def add_steps(batch: Multi, parent: str, count: int) -> None:
    """Add operations to a multi that raise the counter of ``parent`` by ``count``."""
    path = paths.join(parent, f"{_COUNTING_NAME}{uuid.uuid4()}")
    for _ in range(count):
        batch.create(path).delete(path)
