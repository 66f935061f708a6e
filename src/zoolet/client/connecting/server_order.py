"""The order in which a client tries its servers, and the pauses between its tries.

Invariants: within one round, each server is tried once, in random order. The pause after a round
without success doubles up to a limit, and is random. A server that grants a session and then closes
the connection is no success. This module does no I/O.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from zoolet.client.connecting.backoff import Backoff, SystemChance
from zoolet.client.connecting.servers import Servers
from zoolet.model.addresses import Address

if TYPE_CHECKING:
    from zoolet.client.connecting.backoff import Chance

T = TypeVar("T")

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
"""As in Apache ZooKeeper's client: after an outage, each client is back within about a second."""


class ServerOrder:
    """The servers of a client; the program may change them at any time."""

    def __init__(self, servers: Servers, chance: "Chance | None" = None) -> None:
        """Begin a round; ``chance`` decides about the order and the pauses."""
        self._servers = servers
        self._chance = chance or SystemChance()
        self._round: list[Address] = []
        self._preferred: Address | None = None
        self._backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S, self._chance)

    @property
    def servers(self) -> Servers:
        """The servers."""
        return self._servers

    def change(self, servers: Servers) -> None:
        """Use other servers from the next try on."""
        self._servers = servers
        self._round = []
        self._preferred = None
        self._backoff.reset()

    def next(self) -> Address:
        """Return the server to try next."""
        preferred, self._preferred = self._preferred, None
        if preferred is not None:
            return preferred
        if not self._round:
            self._round = list(self._servers.addresses)
            self._chance.shuffle(self._round)
        return self._round.pop()

    def prefer(self, address: Address) -> None:
        """Try this server next."""
        if address in self._servers.addresses:
            self._preferred = address

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in random order."""
        listed = list(items)
        self._chance.shuffle(listed)
        return listed

    def pause_s(self) -> float:
        """Return the time to wait after a failed try: 0 within a round."""
        if self._round:
            return 0.0
        return self._backoff.next_s()

    def was_useful(self, served_s: float, *, has_replied: bool) -> bool:
        """Return whether a connection that has ended was a success; then a new round begins.

        The session was served for ``served_s`` seconds. ``has_replied`` says whether the server has
        replied to a call in this time. Without a reply, a short connection is a failed try.
        """
        is_useful = has_replied or served_s >= LONGEST_PAUSE_S
        if is_useful:
            self._backoff.reset()
            self._round = []
        return is_useful
