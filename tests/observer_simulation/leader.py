"""A leader's side of one connection, after ``LearnerHandler`` of Apache ZooKeeper."""

import random
import struct
from enum import Enum, auto

from tests.observer_simulation.ensemble import Ensemble
from tests.support.fuzzy import AclNumbers, FuzzyContent
from zoolet.model.codes import OpCode
from zoolet.model.learner import PROTOCOL_VERSION, PacketType, QuorumPacket, epoch_of, first_zxid_of
from zoolet.model.requests import WriteRequest
from zoolet.model.txns import Txn
from zoolet.wire.jute import pack_ustring
from zoolet.wire.learner import PacketReader, encode_packet
from zoolet.wire.txns import encode_txn

_DIGEST = bytes.fromhex("00000002 0123456789abcdef")
_SESSION = struct.Struct(">qi")
_HEAD = struct.Struct(">qii")
_NUMBER = struct.Struct(">i")


class _Stage(Enum):
    INFO = auto()
    EPOCH = auto()
    SNAPSHOT = auto()
    SYNCHRONIZING = auto()
    FOLLOWING = auto()


class LeaderLink:
    """One connection.

    Attributes:
        out: the bytes that are sent and not received by the observer yet.
        choices: how the observer got the history: the names of the packets' types.
    """

    def __init__(
        self,
        chance: random.Random,
        ensemble: Ensemble,
        requests: dict[int, tuple[OpCode, WriteRequest]],
    ) -> None:
        """Wait for an observer; ``requests`` has what the bodies of its requests stand for."""
        self.out = bytearray()
        self.choices: list[str] = []
        self._chance = chance
        self._ensemble = ensemble
        self._requests = requests
        self._reader = PacketReader()
        self._stage = _Stage.INFO
        self._queue: list[bytes] = []
        self._content: FuzzyContent | None = None
        self._written = 0
        ensemble.on_commit = self._committed

    def received(self, data: bytes) -> None:
        """Process bytes of the observer."""
        self._reader.feed(data)
        while (packet := self._reader.next()) is not None:
            assert isinstance(packet, QuorumPacket)
            self._received(packet)

    def step(self) -> None:
        """Go on with a snapshot that is being sent."""
        content = self._content
        if content is None:
            return
        for _ in range(self._chance.randrange(1, 8)):
            content.step()
        if self._chance.random() < 0.3:
            content.finish()
            self._content = None
        self.out += content.written[self._written :]
        self._written = len(content.written)
        if self._content is None:
            self.out += pack_ustring("BenWasHere")
            self._end_history()

    def ping(self) -> None:
        """Ask whether the observer is alive."""
        if self._stage in {_Stage.SYNCHRONIZING, _Stage.FOLLOWING}:
            self._send(PacketType.PING, self._ensemble.machine.zxid)

    # --- Packets of the observer

    def _received(self, packet: QuorumPacket) -> None:
        match self._stage:
            case _Stage.INFO:
                assert packet.type == PacketType.OBSERVER_INFO
                assert epoch_of(packet.zxid) <= self._ensemble.epoch, "no leader named this epoch"
                self._send(
                    PacketType.LEADER_INFO,
                    first_zxid_of(self._ensemble.epoch),
                    _NUMBER.pack(PROTOCOL_VERSION),
                )
                self._stage = _Stage.EPOCH
            case _Stage.EPOCH:
                assert packet.type == PacketType.ACK_EPOCH
                self._synchronize(packet.zxid)
            case _Stage.SYNCHRONIZING:
                assert packet.type == PacketType.ACK
                self._stage = _Stage.FOLLOWING
                self._send(PacketType.UP_TO_DATE, -1)
            case _:
                self._answer(packet)

    def _answer(self, packet: QuorumPacket) -> None:
        data = packet.data or b""
        match packet.type:
            case PacketType.PING:
                for session_id, _ in _SESSION.iter_unpack(data):
                    self._ensemble.touch(session_id)
            case PacketType.REVALIDATE:
                session_id, _ = _SESSION.unpack(data)
                is_valid = session_id in self._ensemble.machine.sessions.by_id
                self._ensemble.touch(session_id)
                self._send(PacketType.REVALIDATE, -1, struct.pack(">qB", session_id, is_valid))
            case PacketType.REQUEST:
                session_id, cxid, op_code = _HEAD.unpack_from(data)
                if op_code == OpCode.SYNC:
                    self._send(PacketType.SYNC, 0)
                    return
                (number,) = _NUMBER.unpack_from(data, _HEAD.size)
                self._ensemble.commit(session_id, cxid, *self._requests[number])
                if op_code == OpCode.CREATE_SESSION:
                    self._ensemble.touch(session_id)
            case _:
                assert packet.type == PacketType.ACK

    # --- The history

    def _synchronize(self, last_zxid: int) -> None:
        """Choose DIFF, TRUNC or SNAP as ``LearnerHandler.syncFollower`` does."""
        chance, txns = self._chance, self._ensemble.txns
        zxids = [txn.header.zxid for txn in txns]
        processed = self._ensemble.machine.zxid
        kept = zxids[-chance.choice([1, 20, 500, 500]) :]
        first, last = (kept[0], kept[-1]) if kept else (processed, processed)
        is_new_epoch = last_zxid == first_zxid_of(epoch_of(last_zxid))
        before = [zxid for zxid in kept if zxid < last_zxid]
        after = [zxid for zxid in kept if zxid > last_zxid]
        self._stage = _Stage.SYNCHRONIZING
        if last_zxid == processed:
            self._choose(PacketType.DIFF, last_zxid, [])
        elif last_zxid > last and not is_new_epoch:
            self._choose(PacketType.TRUNC, last, [])
        elif first <= last_zxid <= last and (last_zxid in kept or is_new_epoch):
            self._choose(PacketType.DIFF, last, after)
        elif first <= last_zxid <= last and epoch_of(after[0]) == epoch_of(last_zxid):
            self._choose(PacketType.TRUNC, before[-1], after)
        elif last_zxid in zxids and chance.random() < 0.3:  # from the log files
            self._choose(PacketType.DIFF, last, [zxid for zxid in zxids if zxid > last_zxid])
        else:
            self._begin_snapshot()
            return
        self._end_history()

    def _choose(self, kind: PacketType, zxid: int, missing: list[int]) -> None:
        self.choices.append(kind.name)
        self._send(kind, zxid)
        by_zxid = {txn.header.zxid: txn for txn in self._ensemble.txns}
        for missing_zxid in missing:
            data = encode_txn(by_zxid[missing_zxid]) + _DIGEST
            self._send(PacketType.PROPOSAL, missing_zxid, data)
            self._send(PacketType.COMMIT, missing_zxid)

    def _begin_snapshot(self) -> None:
        """Begin to send a snapshot; what is committed meanwhile is queued from now on."""
        self.choices.append(PacketType.SNAP.name)
        self._stage = _Stage.SNAPSHOT
        for _ in range(self._chance.choice([0, 0, 3])):
            self._ensemble.other_request()  # queued, and in the snapshot as well
        self.out += encode_packet(QuorumPacket(PacketType.SNAP, self._ensemble.machine.zxid))
        self._content = FuzzyContent(self._ensemble.machine, AclNumbers())

    def _end_history(self) -> None:
        self._stage = _Stage.SYNCHRONIZING
        queued, self._queue = self._queue, []
        self.out += b"".join(queued)
        zxid = first_zxid_of(self._ensemble.epoch)
        self._send(PacketType.NEW_LEADER, zxid, self._ensemble.config)

    def _committed(self, txn: Txn) -> None:
        if self._stage in {_Stage.INFO, _Stage.EPOCH}:
            return
        header, data = txn.header, encode_txn(txn) + _DIGEST
        if header.type == OpCode.RECONFIG:
            self._send(PacketType.INFORM_AND_ACTIVATE, header.zxid, struct.pack(">q", 1) + data)
        else:
            self._send(PacketType.INFORM, header.zxid, data)

    def _send(self, packet_type: PacketType, zxid: int, data: bytes | None = None) -> None:
        sent = encode_packet(QuorumPacket(packet_type, zxid, data))
        if self._stage is _Stage.SNAPSHOT:
            self._queue.append(sent)
        else:
            self.out += sent
