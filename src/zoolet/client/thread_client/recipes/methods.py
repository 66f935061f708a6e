"""The methods of a client that make recipes.

Made by `release.client_methods` from `asyncio_client/recipes/methods.py`: change that module.
"""

from typing import Final

from zoolet.client.thread_client.engine import Engine
from zoolet.client.thread_client.operations import Operations
from zoolet.client.thread_client.primitives import Holder
from zoolet.client.thread_client.recipes.lock import LOCK, READ_LOCK, Lock, Kind
from zoolet.client.thread_client.recipes.tools import Tools
from zoolet.client.protocol.requests import RequestMaker

_WRITE_LOCK: Final = (LOCK, READ_LOCK)


class Recipes(Operations):
    """The requests of a client, and the recipes: locks, elections, queues and others."""

    def __init__(self, make: RequestMaker, engine: Engine) -> None:
        super().__init__(make, engine)
        self._tools = Tools(self, engine, make)

    def lock(
        self,
        path: str,
        identifier: str = "",
        *,
        timeout_s: float | None = None,
        other_names: tuple[str, ...] = (),
    ) -> Lock:
        """Return a lock, which one client holds at a time.

        Args:
            path: the znode whose children are the contenders; it is created if it is missing.
            identifier: the data of this contender's znode, which `contenders` shows.
            timeout_s: the longest wait of a ``with`` block for the lock; None is no limit.
            other_names: names of znodes that are contenders too, as other clients write them,
                without the sequence number.
            cancel_on_loss: (asyncio only) whether the task in the block is cancelled when the lock
                is lost; the block then raises LockLostError.
        """
        kind = Kind(LOCK, (LOCK, *other_names))
        holder = Holder()
        return Lock(self._tools, path, kind, identifier, timeout_s, holder)

    def write_lock(
        self,
        path: str,
        identifier: str = "",
        *,
        timeout_s: float | None = None,
    ) -> Lock:
        """Return the write lock of a read-write lock; nobody else has a lock at the same time.

        The arguments are those of `lock`.
        """
        kind = Kind(LOCK, _WRITE_LOCK)
        holder = Holder()
        return Lock(self._tools, path, kind, identifier, timeout_s, holder)

    def read_lock(
        self,
        path: str,
        identifier: str = "",
        *,
        timeout_s: float | None = None,
    ) -> Lock:
        """Return a read lock of a read-write lock, which many clients hold at the same time.

        The arguments are those of `lock`.
        """
        kind = Kind(READ_LOCK, (LOCK,))
        holder = Holder()
        return Lock(self._tools, path, kind, identifier, timeout_s, holder)
