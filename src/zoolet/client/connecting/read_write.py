"""Which servers are asked whether they are read-write, while a read-only server serves the session.

Invariant: all other servers are asked before a server is asked again, with pauses that double up to
a limit. This module does no I/O. Imports ``model`` and `server_order.py`. Source: ``pingRwServer``
of Apache ZooKeeper's ``ClientCnxn``.
"""

import random
from typing import Final

from zoolet.client.connecting.server_order import ServerOrder
from zoolet.model.addresses import Address

WORD: Final = b"isro"
"""The four-letter word that asks a server."""

_READ_WRITE: Final = b"rw"
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 60.0


class Candidates:
    """The servers to ask, one after another, and the pauses before them."""

    def __init__(self, order: ServerOrder, current: Address) -> None:
        """``current`` is the read-only server; it is asked only if there is no other server."""
        self._order = order
        self._current = current
        self._left: list[Address] = []
        self._longest_s = FIRST_PAUSE_S

    def pause_s(self) -> float:
        """Return the time to wait before the next server is asked."""
        longest_s = self._longest_s
        self._longest_s = min(LONGEST_PAUSE_S, 2 * longest_s)
        return longest_s * random.uniform(0.5, 1.0)  # noqa: S311 -- no secret

    def next(self) -> Address:
        """Return the server to ask next."""
        if not self._left:
            servers = self._order.servers.addresses
            others = [one for one in servers if one != self._current]
            self._left = self._order.shuffled(others or servers)
        return self._left.pop()


def says_read_write(answer: bytes) -> bool:
    """Return whether the answer to `WORD` says that the server is read-write."""
    return answer.strip() == _READ_WRITE
