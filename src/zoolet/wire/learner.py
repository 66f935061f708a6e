"""The packets between a leader and an observer as bytes.

Packets follow each other without a length. Numbers are big-endian. Source: ``QuorumPacket`` in
``zookeeper.jute``; ``Learner`` and ``LearnerHandler`` of Apache ZooKeeper, which decide what the
data of a packet contain.

Invariant: bytes of a leader raise MalformedError, and no other error.
"""

import struct
from collections.abc import Iterable
from typing import Final, final

from mypy_extensions import i64

from zoolet.big_endian.buffers import (
    BytesWriter,
    read_i32_be,
    read_i64_be,
    write_i32_be,
    write_i64_be,
)
from zoolet.model.acl import Id
from zoolet.model.learner import LearnerInfo, PacketType, QuorumPacket
from zoolet.wire.jute import MalformedError, Reader, pack_ustring, write_buffer, write_ustring
from zoolet.wire.snapshot_stream import SnapshotScanner

DEFAULT_MAX_PACKET_BYTES: Final = 64 << 20
"""The limit is much greater than the default of ``jute.maxbuffer``, because the ensemble may have a
greater ``jute.maxbuffer`` than this server."""

_HEAD_BYTES: Final = 16  # type, zxid, the length of the data
_COUNT_BYTES: Final = 4
_MAX_IDS: Final = 1000
_SNAP: Final = PacketType.SNAP.value
_SIGNATURE: Final = pack_ustring("BenWasHere")
"""The text with which a leader ends a snapshot (``LearnerHandler.run``)."""

_LEARNER_INFO: Final = struct.Struct(">qiq")
_REQUEST_HEAD: Final = struct.Struct(">qii")
_SESSION: Final = struct.Struct(">qi")
_REVALIDATION_BYTES: Final = 9
_I32: Final = struct.Struct(">i")
_I64: Final = struct.Struct(">q")


def encode_packet(packet: QuorumPacket) -> bytes:
    """Return the bytes of a packet."""
    writer = BytesWriter()
    write_i32_be(writer, packet.type)
    write_i64_be(writer, packet.zxid)
    write_buffer(writer, packet.data)
    if packet.authinfo is None:
        write_i32_be(writer, -1)
    else:
        write_i32_be(writer, len(packet.authinfo))
        for identity in packet.authinfo:
            write_ustring(writer, identity.scheme)
            write_ustring(writer, identity.id)
    return writer.getvalue()


@final
class SnapshotPiece:
    """The next part of a snapshot: content of a snapshot file between its header and its seal."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


@final
class SnapshotEnd:
    """The snapshot is complete."""


@final
class PacketReader:
    """Reads the packets of a leader from the bytes of a connection.

    The snapshot that follows a SNAP packet is returned in pieces, so that it need not fit in
    memory. The reader keeps only bytes that are not complete yet.

    Attributes:
        pending_bytes: the number of bytes that were fed and not returned yet.
    """

    def __init__(self, max_packet_bytes: int = DEFAULT_MAX_PACKET_BYTES) -> None:
        """Read packets whose data have at most ``max_packet_bytes`` bytes."""
        self.pending_bytes = 0
        self._max_packet_bytes = max_packet_bytes
        self._pieces: list[bytes] = []
        self._data = b""
        self._position: i64 = 0
        self._needed: i64 = 0
        self._scanner: SnapshotScanner | None = None

    def feed(self, data: bytes) -> None:
        """Add the next bytes of the connection."""
        self._pieces.append(data)
        self.pending_bytes += len(data)

    def next(self) -> QuorumPacket | SnapshotPiece | SnapshotEnd | None:
        """Return what comes next; None if more bytes are needed. Raises MalformedError."""
        if self._pieces and self.pending_bytes >= self._needed:
            left = self._data[self._position :]
            self._data = b"".join([left, *self._pieces])
            self._pieces = []
            self._position = 0
        start = self._position
        scanner = self._scanner
        found = self._next_packet() if scanner is None else self._next_of_snapshot(scanner)
        self.pending_bytes -= self._position - start
        return found

    def _needs(self, end: i64) -> bool:
        """Return whether bytes up to ``end`` are missing."""
        if end <= len(self._data):
            return False
        self._needed = end - self._position
        return True

    def _next_packet(self) -> QuorumPacket | None:
        data, start = self._data, self._position
        self._needed = 0
        body = start + _HEAD_BYTES
        if self._needs(body):
            return None
        size_bytes = i64(read_i32_be(data, body - _COUNT_BYTES))
        if not -1 <= size_bytes <= self._max_packet_bytes:
            raise MalformedError(
                f"a packet of {size_bytes} bytes; the limit is {self._max_packet_bytes}"
            )
        end = body + max(0, size_bytes)
        if self._needs(end + _COUNT_BYTES):
            return None
        content = None if size_bytes < 0 else data[body:end]
        count = i64(read_i32_be(data, end))
        end += _COUNT_BYTES
        authinfo: tuple[Id, ...] | None = None
        if count >= 0:
            end = self._end_of_ids(end, count)
            if end < 0:
                return None
            reader = Reader(data, body + max(0, size_bytes), end)
            authinfo = reader.read_vector(lambda: Id(reader.read_ustring(), reader.read_ustring()))
        packet = QuorumPacket(
            read_i32_be(data, start), read_i64_be(data, start + 4), content, authinfo
        )
        self._position = end
        if packet.type == _SNAP:
            self._scanner = SnapshotScanner()
        return packet

    def _end_of_ids(self, position: i64, count: i64) -> i64:
        """Return the end of this number of identities; -1 if bytes are missing."""
        if count > _MAX_IDS:
            raise MalformedError(f"a packet with {count} identities; the limit is {_MAX_IDS}")
        for _ in range(2 * count):
            if self._needs(position + _COUNT_BYTES):
                return -1
            size_bytes = i64(read_i32_be(self._data, position))
            if not 0 <= size_bytes <= self._max_packet_bytes:
                raise MalformedError(f"an identity of {size_bytes} bytes")
            position += _COUNT_BYTES + size_bytes
        return -1 if self._needs(position) else position

    def _next_of_snapshot(self, scanner: SnapshotScanner) -> SnapshotPiece | SnapshotEnd | None:
        start = self._position
        self._needed = 0
        if not scanner.is_complete:
            self._position = scanner.scan(self._data, start)
            if self._position > start:
                return SnapshotPiece(self._data[start : self._position])
            return None
        end = start + len(_SIGNATURE)
        if self._needs(end):
            return None
        if self._data[start:end] != _SIGNATURE:
            raise MalformedError("the end of the leader's snapshot has a wrong signature")
        self._position = end
        self._scanner = None
        return SnapshotEnd()


# --- The data of packets


def encode_learner_info(info: LearnerInfo) -> bytes:
    """Return the data of OBSERVER_INFO."""
    return _LEARNER_INFO.pack(info.server_id, info.protocol_version, info.config_version)


def encode_epoch(epoch: int) -> bytes:
    """Return the data of ACK_EPOCH: the learner's current epoch, or -1."""
    return _I32.pack(epoch)


def encode_request(session_id: int, cxid: int, op_code: int, body: bytes) -> bytes:
    """Return the data of REQUEST; ``body`` is the client's request after its header."""
    return _REQUEST_HEAD.pack(session_id, cxid, op_code) + body


def encode_revalidation(session_id: int, timeout_ms: int) -> bytes:
    """Return the data of REVALIDATE from a learner."""
    return _SESSION.pack(session_id, timeout_ms)


def encode_touched(sessions: Iterable[tuple[int, int]]) -> bytes:
    """Return the data of PING from a learner: sessions that were used, with timeouts in ms."""
    return b"".join([_SESSION.pack(session_id, timeout) for session_id, timeout in sessions])


def decode_protocol_version(data: bytes | None) -> int:
    """Return the version in LEADER_INFO; raises MalformedError."""
    return Reader(data or b"").read_int()


def decode_revalidation(data: bytes | None) -> tuple[int, bool]:
    """Return a session id and whether the session exists, from a leader's REVALIDATE."""
    if data is None or len(data) != _REVALIDATION_BYTES:
        raise MalformedError("the packet REVALIDATE must have 9 bytes of data")
    return read_i64_be(data, 0), data[8] != 0


def decode_activation(data: bytes | None) -> tuple[int, bytes]:
    """Return the id of the designated leader, and the txn, from INFORM_AND_ACTIVATE."""
    if data is None or len(data) < _I64.size:
        raise MalformedError("the packet INFORMANDACTIVATE has no designated leader")
    return read_i64_be(data, 0), data[_I64.size :]
