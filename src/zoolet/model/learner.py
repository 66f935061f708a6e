"""The packets between a leader and its learners: followers and observers.

Source: ``Leader``, ``LearnerInfo`` and ``QuorumPacket`` of Apache ZooKeeper.
"""

from enum import IntEnum
from typing import Final, final

from mypy_extensions import mypyc_attr

from zoolet.model.acl import Id
from zoolet.model.record import Record

PROTOCOL_VERSION: Final = 0x10000
"""The version of the learner protocol since Apache ZooKeeper 3.4."""

EPOCH_BITS: Final = 32
"""The upper half of a zxid is the epoch: the number of the leader's term."""


class PacketType(IntEnum):
    """The types of packets."""

    REQUEST = 1
    PROPOSAL = 2
    ACK = 3
    COMMIT = 4
    PING = 5
    REVALIDATE = 6
    SYNC = 7
    INFORM = 8
    COMMIT_AND_ACTIVATE = 9
    NEW_LEADER = 10
    FOLLOWER_INFO = 11
    UP_TO_DATE = 12
    DIFF = 13
    TRUNC = 14
    SNAP = 15
    OBSERVER_INFO = 16
    LEADER_INFO = 17
    ACK_EPOCH = 18
    INFORM_AND_ACTIVATE = 19


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class QuorumPacket(Record):
    """One packet, in either direction.

    Attributes:
        type: a PacketType; another number if this release does not know the type.
        zxid: a zxid; its meaning depends on the type, and it is -1 if there is none.
        data: the content, whose format depends on the type; None for null.
        authinfo: the identities of the client that sent a REQUEST; None for null.
    """

    __slots__ = ("type", "zxid", "data", "authinfo")

    def __init__(
        self,
        type: int,  # noqa: A002 -- the protocol's name
        zxid: int,
        data: bytes | None = None,
        authinfo: tuple[Id, ...] | None = None,
    ) -> None:
        self.type = type
        self.zxid = zxid
        self.data = data
        self.authinfo = authinfo


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class LearnerInfo(Record):
    """The content of a learner's first packet.

    Attributes:
        server_id: the learner's id, from its file ``myid``.
        protocol_version: PROTOCOL_VERSION.
        config_version: the version of the configuration that the learner knows; 0 if it knows none.
            A leader closes the connection if this is greater than its own version.
    """

    __slots__ = ("server_id", "protocol_version", "config_version")

    def __init__(self, server_id: int, protocol_version: int, config_version: int) -> None:
        self.server_id = server_id
        self.protocol_version = protocol_version
        self.config_version = config_version


def epoch_of(zxid: int) -> int:
    """Return the epoch of a zxid."""
    return zxid >> EPOCH_BITS


def first_zxid_of(epoch: int) -> int:
    """Return the zxid with which an epoch begins; the epoch's first txn has the next zxid."""
    return epoch << EPOCH_BITS
