"""The packets with which members prove to each other who they are, before any other packet.

A packet has a magic number, a status and a token of SASL. Source: ``QuorumAuth``,
``SaslQuorumAuthLearner`` and ``SaslQuorumAuthServer`` of Apache ZooKeeper. With DIGEST-MD5 the
learner begins with an empty token.

Invariant: bytes of the other side raise MalformedError, and no other error.
"""

import struct
from enum import IntEnum
from typing import Final, NamedTuple, final

from zoolet.wire.jute import MalformedError, pack_buffer

QUORUM_SERVICE: Final = "zookeeper-quorum"
QUORUM_REALM: Final = "zk-quorum-sasl-md5"
"""The realm, and also the host in the digest-uri (``QuorumAuth.QUORUM_SERVER_PROTOCOL_NAME``)."""

_MAGIC: Final = 0x5F2435013501EDCC
_HEAD = struct.Struct(">qii")
_MAX_TOKEN_BYTES: Final = 1 << 16


class AuthStatus(IntEnum):
    """The status of an authentication."""

    ERROR = -1
    IN_PROGRESS = 0
    SUCCESS = 1


class AuthPacket(NamedTuple):
    """A step of an authentication; a null token is read as empty."""

    status: AuthStatus
    token: bytes


def encode_auth(status: AuthStatus, token: bytes) -> bytes:
    """Return the bytes of a packet."""
    return struct.pack(">qi", _MAGIC, status) + pack_buffer(token)


@final
class AuthReader:
    """Reads packets; bytes after the last one remain for the next protocol."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> None:
        """Add the next bytes of the connection."""
        self._data += data

    def next(self) -> AuthPacket | None:
        """Return the next packet; None if more bytes are needed. Raises MalformedError."""
        if len(self._data) < _HEAD.size:
            return None
        magic, number, size_bytes = _HEAD.unpack_from(self._data)
        if magic != _MAGIC:
            raise MalformedError(
                "the packet is not one of a SASL authentication: the other side does not have"
                " quorum.auth.enableSasl=true"
            )
        try:
            status = AuthStatus(number)
        except ValueError as error:
            raise MalformedError(f"an authentication with the status {number}") from error
        if not -1 <= size_bytes <= _MAX_TOKEN_BYTES:
            raise MalformedError(f"a token of {size_bytes} bytes")
        end = _HEAD.size + max(0, size_bytes)
        if len(self._data) < end:
            return None
        token, self._data = self._data[_HEAD.size : end], self._data[end:]
        return AuthPacket(status, token)

    def rest(self) -> bytes:
        """Return and forget the bytes that no packet of this protocol has."""
        rest, self._data = self._data, b""
        return rest
