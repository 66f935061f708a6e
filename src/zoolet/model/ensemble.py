"""The members of an ensemble."""

from enum import IntEnum
from typing import Final, NamedTuple

from zoolet.model.addresses import format_address

LARGEST_ID: Final = 254
"""The largest number of a member, which is the first byte of the ids of its sessions. With 255, the
ids would look like the owners of TTL znodes (``EphemeralType.validateServerId``)."""


class QuorumAddress(NamedTuple):
    """An address of a member for the other members; an IPv6 host is stored without brackets."""

    host: str
    quorum_port: int
    election_port: int

    @property
    def quorum(self) -> str:
        """The address at which the member takes learners while it is the leader, as text."""
        return format_address(self.host, self.quorum_port)


class EnsembleMember(NamedTuple):
    """A member of an ensemble.

    Attributes:
        id: the number in its file ``myid``.
        addresses: its addresses; several if the ensemble uses ``multiAddress.enabled``.
        is_participant: whether it votes; False for an observer.
        client_address: ``HOST:PORT`` for clients; "" if the configuration does not say.
    """

    id: int
    addresses: tuple[QuorumAddress, ...]
    is_participant: bool
    client_address: str


class EnsembleConfig(NamedTuple):
    """The configuration of an ensemble.

    Attributes:
        members: the members by id.
        version: the number of the configuration; a reconfig chooses a greater one.
        is_hierarchical: whether participants have groups or weights.
    """

    members: dict[int, EnsembleMember]
    version: int
    is_hierarchical: bool

    def participants(self) -> list[int]:
        """Return the ids of the members that vote."""
        return [member.id for member in self.members.values() if member.is_participant]


class ServerState(IntEnum):
    """What a member does, in its notifications (``QuorumPeer.ServerState``)."""

    LOOKING = 0
    FOLLOWING = 1
    LEADING = 2
    OBSERVING = 3
