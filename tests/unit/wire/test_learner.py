"""The packets of the learner protocol, and the snapshot that a leader sends among them."""

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.leader_bytes import snapshot_bytes
from tests.support.strategies import INT32, INT64, TEXT
from zoolet.model.acl import Id
from zoolet.model.learner import LearnerInfo, PacketType, QuorumPacket
from zoolet.wire.jute import MalformedError, pack_ustring
from zoolet.wire.learner import (
    PacketReader,
    SnapshotEnd,
    SnapshotPiece,
    decode_activation,
    decode_protocol_version,
    decode_revalidation,
    encode_epoch,
    encode_learner_info,
    encode_packet,
    encode_request,
    encode_revalidation,
    encode_touched,
)

IDS = st.lists(st.builds(Id, TEXT, TEXT), max_size=3).map(tuple)
PACKETS = st.builds(
    QuorumPacket,
    INT32.filter(lambda number: number != PacketType.SNAP),
    INT64,
    st.none() | st.binary(max_size=40),
    st.none() | IDS,
)


def all_of(reader: PacketReader) -> list[QuorumPacket | SnapshotPiece | SnapshotEnd]:
    """Return everything that can be read now."""
    found = []
    while (item := reader.next()) is not None:
        found.append(item)
    return found


def test_a_packet_has_the_bytes_of_apache() -> None:
    """Taken apart by hand after zookeeper.jute: QuorumPacket with an Id."""
    packet = QuorumPacket(PacketType.REQUEST, -1, b"ab", (Id("ip", "::1"),))
    assert encode_packet(packet) == bytes.fromhex(
        "00000001 ffffffffffffffff 00000002 6162 00000001 00000002 6970 00000003 3a3a31"
    )
    empty = QuorumPacket(PacketType.UP_TO_DATE, -1)
    assert encode_packet(empty) == bytes.fromhex("0000000c ffffffffffffffff ffffffff ffffffff")


@given(st.lists(PACKETS, max_size=5), st.integers(1, 30))
def test_packets_in_pieces_are_read(packets: list[QuorumPacket], piece_bytes: int) -> None:
    sent = b"".join(map(encode_packet, packets))
    reader = PacketReader()
    found: list[object] = []
    for start in range(0, len(sent), piece_bytes):
        reader.feed(sent[start : start + piece_bytes])
        found += all_of(reader)
    assert found == packets
    assert reader.pending_bytes == 0


def test_a_large_packet_is_not_copied_for_each_piece() -> None:
    """Only complete packets are put together, so the bytes wait in the pieces that arrived."""
    sent = encode_packet(QuorumPacket(PacketType.INFORM, 1, bytes(1 << 20)))
    reader = PacketReader()
    for start in range(0, len(sent) - 1, 1000):
        reader.feed(sent[start : min(start + 1000, len(sent) - 1)])
        assert reader.next() is None
    assert len(reader._data) <= 1000
    assert reader.pending_bytes == len(sent) - 1
    reader.feed(sent[-1:])
    packet = reader.next()
    assert isinstance(packet, QuorumPacket)
    assert packet.data == bytes(1 << 20)


@pytest.mark.parametrize(
    "sent",
    [
        "00000008 0000000000000001 fffffffe",
        "00000008 0000000000000001 7fffffff",
        "00000008 0000000000000001 ffffffff 7fffffff",
        "00000008 0000000000000001 ffffffff 00000001 ffffffff",
        "00000008 0000000000000001 ffffffff 00000001 7fffffff",
    ],
)
def test_an_impossible_length_is_refused(sent: str) -> None:
    reader = PacketReader()
    reader.feed(bytes.fromhex(sent))
    with pytest.raises(MalformedError):
        reader.next()


def test_a_packet_above_the_limit_is_refused_before_it_arrives() -> None:
    reader = PacketReader(max_packet_bytes=10)
    reader.feed(encode_packet(QuorumPacket(PacketType.INFORM, 1, bytes(11)))[:16])
    with pytest.raises(MalformedError, match="11 bytes; the limit is 10"):
        reader.next()


@pytest.mark.parametrize("seed", range(20))
def test_a_snapshot_between_packets_is_passed_on_in_pieces(seed: int) -> None:
    chance = random.Random(seed)
    content = snapshot_bytes(chance)
    before = QuorumPacket(PacketType.SNAP, 7)
    after = QuorumPacket(PacketType.NEW_LEADER, 1 << 32, b"version=0")
    sent = b"".join(
        [encode_packet(before), content, pack_ustring("BenWasHere"), encode_packet(after)]
    )
    reader = PacketReader()
    found: list[object] = []
    position = 0
    while position < len(sent):
        end = position + chance.randrange(1, 400)
        reader.feed(sent[position:end])
        position = end
        found += all_of(reader)
        assert reader.pending_bytes < 16 + len(encode_packet(after))
    pieces = [item.data for item in found if isinstance(item, SnapshotPiece)]
    assert b"".join(pieces) == content
    assert [item for item in found if isinstance(item, QuorumPacket)] == [before, after]
    assert sum(isinstance(item, SnapshotEnd) for item in found) == 1
    assert isinstance(found[-2], SnapshotEnd)


def test_a_large_znode_of_a_snapshot_is_not_kept() -> None:
    """Its data are passed on as they arrive."""
    znode = pack_ustring("") + (1 << 30).to_bytes(4)
    reader = PacketReader()
    reader.feed(encode_packet(QuorumPacket(PacketType.SNAP, 7)) + bytes(8) + znode)
    assert len(all_of(reader)) == 2
    for _ in range(100):
        reader.feed(bytes(1 << 16))
        assert [type(item) for item in all_of(reader)] == [SnapshotPiece]
        assert reader.pending_bytes == 0


def test_a_wrong_signature_after_a_snapshot_is_refused() -> None:
    content = snapshot_bytes(random.Random(1))
    reader = PacketReader()
    reader.feed(
        encode_packet(QuorumPacket(PacketType.SNAP, 7)) + content + pack_ustring("BenIsGone!")
    )
    with pytest.raises(MalformedError, match="signature"):
        all_of(reader)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_packets_or_malformed(data: bytes, is_snapshot: bool) -> None:
    reader = PacketReader()
    if is_snapshot:
        reader.feed(encode_packet(QuorumPacket(PacketType.SNAP, 7)))
    reader.feed(data)
    with contextlib.suppress(MalformedError):
        all_of(reader)


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_snapshot_is_malformed_or_has_no_end(seed: int) -> None:
    chance = random.Random(seed)
    content = bytearray(snapshot_bytes(chance))
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    reader = PacketReader()
    reader.feed(encode_packet(QuorumPacket(PacketType.SNAP, 7)) + bytes(content))
    with contextlib.suppress(MalformedError):
        all_of(reader)


def test_the_data_of_packets_have_the_bytes_of_apache() -> None:
    assert encode_learner_info(LearnerInfo(200, 0x10000, 3)) == bytes.fromhex(
        "00000000000000c8 00010000 0000000000000003"
    )
    assert encode_epoch(-1) == bytes.fromhex("ffffffff")
    assert encode_request(0x0C8, 7, -11, b"body") == bytes.fromhex(
        "00000000000000c8 00000007 fffffff5 626f6479"
    )
    assert encode_revalidation(-1, 4000) == bytes.fromhex("ffffffffffffffff 00000fa0")
    assert encode_touched([(1, 2), (3, 4)]) == bytes.fromhex(
        "0000000000000001 00000002 0000000000000003 00000004"
    )
    assert encode_touched([]) == b""


def test_the_data_of_a_leader_are_read() -> None:
    assert decode_protocol_version(bytes.fromhex("00010000")) == 0x10000
    assert decode_revalidation(bytes.fromhex("00000000000000c8 01")) == (200, True)
    assert decode_revalidation(bytes.fromhex("ffffffffffffffff 00")) == (-1, False)
    assert decode_activation(bytes.fromhex("0000000000000002") + b"txn") == (2, b"txn")


@given(st.none() | st.binary(max_size=12))
def test_any_data_of_a_leader_are_read_or_malformed(data: bytes | None) -> None:
    for decode in (decode_protocol_version, decode_revalidation, decode_activation):
        with contextlib.suppress(MalformedError):
            decode(data)
