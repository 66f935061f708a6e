"""The election port of a member: how a server without a vote asks who the leader is.

The server sends its id and address, and one notification. A member answers a server that is no
voter with its own vote. Source: ``QuorumCnxManager`` and ``FastLeaderElection`` of Apache
ZooKeeper.

Invariant: bytes of a member raise MalformedError, and no other error.
"""

import struct
from typing import Final, NamedTuple

from zoolet.model.ensemble import EnsembleConfig, ServerState
from zoolet.wire.ensemble_config import decode_config
from zoolet.wire.jute import MalformedError

ANYBODY: Final = (1 << 63) - 1
"""The id of a server that has none (``QuorumPeer.OBSERVER_ID``)."""

MAX_MESSAGE_BYTES: Final = 1 << 19
"""The limit of a message (``QuorumCnxManager.PACKETMAXSIZE``)."""

_INITIAL = struct.Struct(">qqi")
_LENGTH = struct.Struct(">i")
_VOTE = struct.Struct(">iqqqq")
_PROTOCOL: Final = -65536
_NO_VOTE: Final = -(1 << 63)
_VERSION: Final = 1
_VERSION_WITH_CONFIG: Final = 2


class Notification(NamedTuple):
    """What a member reports of itself.

    Attributes:
        state: what the member does.
        leader: the id of the leader; while the member is LOOKING, the id that it votes for.
        zxid: the last zxid of that leader when the vote was made.
        round: the number of the election.
        peer_epoch: the epoch of that leader.
        config: the configuration that the member has; None if it does not say.
    """

    state: ServerState
    leader: int
    zxid: int
    round: int
    peer_epoch: int
    config: EnsembleConfig | None


def ask(my_id: int, my_address: str) -> bytes:
    """Return all bytes that ask a member: who we are, and the notification of an observer.

    Args:
        my_id: the id of this server. A member with a greater id hangs up, and connects to
            ``my_address`` instead of answering.
        my_address: ``HOST:PORT``, the election port of this server.
    """
    address = my_address.encode()
    vote = _VOTE.pack(ServerState.LOOKING, _NO_VOTE, _NO_VOTE, 0, _NO_VOTE)
    message = vote + _LENGTH.pack(_VERSION)
    initial = _INITIAL.pack(_PROTOCOL, my_id, len(address)) + address
    return initial + _LENGTH.pack(len(message)) + message


class NotificationReader:
    """Reads the notifications that a member sends."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> None:
        """Add the next bytes of the connection."""
        self._data += data

    def next(self) -> Notification | None:
        """Return the next notification; None if more bytes are needed. Raises MalformedError."""
        if len(self._data) < _LENGTH.size:
            return None
        (size_bytes,) = _LENGTH.unpack_from(self._data)
        if not _VOTE.size <= size_bytes <= MAX_MESSAGE_BYTES:
            raise MalformedError(f"a notification of {size_bytes} bytes")
        end = _LENGTH.size + size_bytes
        if len(self._data) < end:
            return None
        message, self._data = self._data[_LENGTH.size : end], self._data[end:]
        return _notification(message)


def _notification(message: bytes) -> Notification:
    number, leader, zxid, election, peer_epoch = _VOTE.unpack_from(message)
    try:
        state = ServerState(number)
    except ValueError as error:
        raise MalformedError(f"a notification with the state {number}") from error
    return Notification(state, leader, zxid, election, peer_epoch, _config(message))


def _config(message: bytes) -> EnsembleConfig | None:
    """Return the configuration after the vote and the version of the message."""
    start = _VOTE.size + _LENGTH.size
    if len(message) < start + _LENGTH.size:
        return None
    (version,) = _LENGTH.unpack_from(message, _VOTE.size)
    if version < _VERSION_WITH_CONFIG:
        return None
    (size_bytes,) = _LENGTH.unpack_from(message, start)
    start += _LENGTH.size
    if not 0 <= size_bytes <= len(message) - start:
        raise MalformedError(f"a notification with a configuration of {size_bytes} bytes")
    return decode_config(message[start : start + size_bytes]) if size_bytes else None
