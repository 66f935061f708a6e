"""Which servers are asked whether they are read-write, while a read-only server serves the session.

Invariant: all other servers are asked before a server is asked again, with pauses that double up to
a limit. This module does no I/O. Imports ``model`` and `server_order.py`. Source: ``pingRwServer``
of Apache ZooKeeper's ``ClientCnxn``.
"""

from typing import Final

from zoolet.client.connecting.backoff import Backoff
from zoolet.client.connecting.server_order import ServerOrder
from zoolet.model.addresses import Address

WORD: Final = b"isro"
"""The four-letter word that asks a server."""

MAX_ANSWER_BYTES: Final = 4
"""The longest answer: ``null``."""

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
        self._backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)

    def pause_s(self) -> float:
        """Return the time to wait before the next server is asked."""
        return self._backoff.next_s()

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
