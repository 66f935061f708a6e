"""The observer's side of one connection to a leader, as a pure state machine.

Packets go in, steps come out. The order of the packets is that of ``Learner.registerWithLeader``,
``Learner.syncWithLeader`` and ``Observer.processPacket`` of Apache ZooKeeper.

Invariants:
- The steps store only epochs that a LEADERINFO has named, and never a lower one.
- The zxids of the Apply steps rise without a gap within an epoch, from the last zxid of the log.
- The epoch of the leader becomes the current epoch only after its whole history is durable.
- After GiveUp, no further step is returned.
"""

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, final

from zoolet.model.codes import OpCode
from zoolet.model.learner import (
    PROTOCOL_VERSION,
    LearnerInfo,
    PacketType,
    QuorumPacket,
    epoch_of,
    first_zxid_of,
)
from zoolet.model.txns import SetDataTxn, Txn
from zoolet.observer.steps import (
    Activate,
    AnswerPing,
    AnswerSync,
    Apply,
    GiveUp,
    InstallSnapshot,
    MakeDurable,
    Revalidated,
    Send,
    Serve,
    Step,
    StoreAcceptedEpoch,
    StoreCurrentEpoch,
    TakeSnapshot,
    Truncate,
)
from zoolet.wire.ensemble_config import decode_config
from zoolet.wire.jute import MalformedError
from zoolet.wire.learner import (
    decode_activation,
    decode_protocol_version,
    decode_revalidation,
    encode_epoch,
    encode_learner_info,
)
from zoolet.wire.txns import decode_txn

if TYPE_CHECKING:
    from zoolet.model.ensemble import EnsembleConfig

MAX_PROPOSALS: Final = 100_000
"""The most proposals that may wait for their commits. A current leader commits each one at once."""

# Module constants, because looking up an enum member costs more than the comparison.
_PROPOSAL: Final = PacketType.PROPOSAL.value
_ACK: Final = PacketType.ACK.value
_COMMIT: Final = PacketType.COMMIT.value
_PING: Final = PacketType.PING.value
_REVALIDATE: Final = PacketType.REVALIDATE.value
_SYNC: Final = PacketType.SYNC.value
_INFORM: Final = PacketType.INFORM.value
_COMMIT_AND_ACTIVATE: Final = PacketType.COMMIT_AND_ACTIVATE.value
_NEW_LEADER: Final = PacketType.NEW_LEADER.value
_UP_TO_DATE: Final = PacketType.UP_TO_DATE.value
_DIFF: Final = PacketType.DIFF.value
_TRUNC: Final = PacketType.TRUNC.value
_SNAP: Final = PacketType.SNAP.value
_OBSERVER_INFO: Final = PacketType.OBSERVER_INFO.value
_LEADER_INFO: Final = PacketType.LEADER_INFO.value
_ACK_EPOCH: Final = PacketType.ACK_EPOCH.value
_INFORM_AND_ACTIVATE: Final = PacketType.INFORM_AND_ACTIVATE.value
_KNOWN_TYPES: Final = frozenset([member.value for member in PacketType])
_ERROR: Final = OpCode.ERROR.value
_SAME_EPOCH: Final = -1


class Phase(Enum):
    """The phases of a connection, in their order."""

    CONNECTING = auto()
    HANDSHAKE = auto()
    CHOOSING = auto()  # the leader chooses DIFF, TRUNC or SNAP
    TAKING_SNAPSHOT = auto()
    SYNCHRONIZING = auto()
    ACKNOWLEDGED = auto()
    SERVING = auto()
    ENDED = auto()


class _RefusedError(Exception):
    """The connection must end; ``is_final`` is that of GiveUp."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


@final
class Replica:
    """One connection to a leader.

    Attributes:
        phase: how far the connection is.
        leader_epoch: the epoch of the leader; 0 if it is not known yet.
        last_zxid: the zxid of the last txn that the steps apply, or that the log had before.
        leader_zxid: the greatest zxid that the leader has named; 0 if it has named none.
        config: the members of the ensemble; None if they are not known yet.
    """

    def __init__(self, my_id: int, accepted_epoch: int, current_epoch: int, last_zxid: int) -> None:
        """Begin a connection.

        Args:
            my_id: the id of this server.
            accepted_epoch: the stored accepted epoch; the epoch of ``last_zxid`` if none is stored.
            current_epoch: the stored current epoch; the epoch of ``last_zxid`` if none is stored.
            last_zxid: the zxid of the last txn in the log; with 0 the leader sends a snapshot.
        """
        self.phase = Phase.CONNECTING
        self.leader_epoch = 0
        self.last_zxid = last_zxid
        self.leader_zxid = 0
        self.config: EnsembleConfig | None = None
        self._my_id = my_id
        self._accepted_epoch = accepted_epoch
        self._current_epoch = current_epoch
        self._is_snapshot_taken = False
        self._proposals: deque[Txn] = deque()

    def connected(self) -> list[Step]:
        """Return the steps after the connection is open, with TLS and SASL if they are used."""
        self.phase = Phase.HANDSHAKE
        # Every version is accepted, except one that is greater than the leader's.
        info = LearnerInfo(self._my_id, PROTOCOL_VERSION, 0)
        zxid = first_zxid_of(self._accepted_epoch)
        return [Send(QuorumPacket(_OBSERVER_INFO, zxid, encode_learner_info(info)))]

    def received(self, packet: QuorumPacket) -> list[Step]:
        """Return the steps after a packet of the leader."""
        try:
            if self.phase is Phase.SERVING and packet.type == _INFORM:  # the most frequent case
                return self._inform(packet)
            return self._received(packet)
        except _RefusedError as error:
            refused = error
        except MalformedError as malformed:  # not "error": in mypyc, a name has only one type
            refused = _RefusedError(
                f"the leader's packet {_name_of(packet)} is malformed: {malformed}"
            )
        self.phase = Phase.ENDED
        return [GiveUp(str(refused), refused.is_final)]

    def snapshot_received(self) -> list[Step]:
        """Return the steps after the whole snapshot of the leader is received."""
        if self.phase is Phase.TAKING_SNAPSHOT:
            self.phase = Phase.SYNCHRONIZING
        return []

    def _received(self, packet: QuorumPacket) -> list[Step]:
        phase = self.phase
        if phase is Phase.ENDED:
            return []
        if packet.type not in _KNOWN_TYPES:
            return []  # as Apache's observer does
        if phase is Phase.HANDSHAKE:
            return self._greeted(packet)
        if phase is Phase.CHOOSING:
            return self._chosen(packet)
        if phase is Phase.CONNECTING or phase is Phase.TAKING_SNAPSHOT:
            raise _unexpected(packet, phase)
        return self._followed(packet)

    # --- The handshake

    def _greeted(self, packet: QuorumPacket) -> list[Step]:
        """Process LEADERINFO: the leader's epoch."""
        if packet.type != _LEADER_INFO:
            raise _unexpected(packet, self.phase)
        version = decode_protocol_version(packet.data)
        if version < PROTOCOL_VERSION:
            raise _RefusedError(
                f"the leader has version 0x{version:x} of the protocol: Apache ZooKeeper 3.4 or"
                " later is needed",
                is_final=True,
            )
        epoch = epoch_of(packet.zxid)
        if epoch < self._accepted_epoch:
            raise _RefusedError(
                f"the leader has epoch {epoch}, but this server has accepted epoch"
                f" {self._accepted_epoch} already: another leader must exist, or be elected soon"
            )
        self.leader_epoch = epoch
        self.phase = Phase.CHOOSING
        told = _SAME_EPOCH
        steps: list[Step] = []
        if epoch > self._accepted_epoch:
            self._accepted_epoch = epoch
            steps.append(StoreAcceptedEpoch(epoch))
            told = self._current_epoch
        steps.append(Send(QuorumPacket(_ACK_EPOCH, self.last_zxid, encode_epoch(told))))
        return steps

    def _chosen(self, packet: QuorumPacket) -> list[Step]:
        """Process the leader's choice: how this server gets the leader's history."""
        self.phase = Phase.SYNCHRONIZING
        zxid = packet.zxid
        if packet.type == _DIFF:
            self.leader_zxid = max(self.leader_zxid, zxid)
            return []
        if packet.type == _SNAP:
            self.phase = Phase.TAKING_SNAPSHOT
            self._is_snapshot_taken = True
            self.last_zxid = zxid
            self.leader_zxid = max(self.leader_zxid, zxid)
            return [TakeSnapshot(zxid)]
        if packet.type != _TRUNC:
            raise _unexpected(packet, Phase.CHOOSING)
        if zxid > self.last_zxid:
            raise _RefusedError(
                f"the leader wants the log to be cut behind 0x{zxid:x}, but it ends at"
                f" 0x{self.last_zxid:x}"
            )
        if zxid == self.last_zxid:
            return []
        self.last_zxid = zxid
        return [Truncate(zxid)]

    # --- After the choice

    def _followed(self, packet: QuorumPacket) -> list[Step]:
        packet_type = packet.type
        if packet_type == _INFORM:
            return self._inform(packet)
        if packet_type == _PROPOSAL:
            return self._propose(packet)
        if packet_type in {_COMMIT, _COMMIT_AND_ACTIVATE}:
            return self._commit(packet)
        if packet_type == _INFORM_AND_ACTIVATE:
            return self._reconfigure(packet)
        if self.phase is not Phase.SYNCHRONIZING:
            return self._asked(packet)
        if packet_type != _NEW_LEADER:
            raise _unexpected(packet, self.phase)
        return self._history_ended(packet)

    def _asked(self, packet: QuorumPacket) -> list[Step]:
        """Process a packet without a txn after NEWLEADER."""
        packet_type = packet.type
        if packet_type == _PING:
            self.leader_zxid = max(self.leader_zxid, packet.zxid)
            return [AnswerPing(packet.zxid)]
        if packet_type == _UP_TO_DATE:
            return self._up_to_date()
        if self.phase is Phase.SERVING:
            if packet_type == _SYNC:
                return [AnswerSync()]
            if packet_type == _REVALIDATE:
                session_id, is_valid = decode_revalidation(packet.data)
                return [Revalidated(session_id, is_valid)]
        raise _unexpected(packet, self.phase)

    def _inform(self, packet: QuorumPacket) -> list[Step]:
        """Process a txn that is committed."""
        return self._applied(self._txn_of(packet, packet.data))

    def _propose(self, packet: QuorumPacket) -> list[Step]:
        """Keep a txn that is not committed yet, or whose commit follows immediately."""
        if len(self._proposals) >= MAX_PROPOSALS:
            raise _RefusedError(f"the leader has sent {MAX_PROPOSALS} proposals without commits")
        self._proposals.append(self._txn_of(packet, packet.data))
        return []

    def _commit(self, packet: QuorumPacket) -> list[Step]:
        """Process the commit of a proposal."""
        proposals = self._proposals
        while proposals and proposals[0].header.zxid < packet.zxid:
            proposals.popleft()  # a leader sends only its history, so this txn came as INFORM
        if proposals and proposals[0].header.zxid == packet.zxid:
            return self._applied(proposals.popleft())
        if packet.zxid <= self.last_zxid:
            return []
        raise _RefusedError(f"the leader commits 0x{packet.zxid:x}, but has not sent this txn")

    def _reconfigure(self, packet: QuorumPacket) -> list[Step]:
        """Process a change of the ensemble's members."""
        leader_id, encoded = decode_activation(packet.data)
        txn = self._txn_of(packet, encoded)
        steps = self._applied(txn)
        body = txn.body
        if steps and isinstance(body, SetDataTxn):
            config = self.config = decode_config(body.data or b"")
            steps.append(Activate(config, leader_id))
            if self._my_id in config.participants():
                self.phase = Phase.ENDED
                steps.append(GiveUp(_voter(self._my_id), is_final=True))
        return steps

    def _txn_of(self, packet: QuorumPacket, encoded: bytes | None) -> Txn:
        txn = decode_txn(encoded or b"")
        if txn.header.zxid != packet.zxid:
            raise _RefusedError(
                f"the leader's packet {_name_of(packet)} has zxid 0x{packet.zxid:x}, but its txn"
                f" has 0x{txn.header.zxid:x}"
            )
        return txn

    def _applied(self, txn: Txn) -> list[Step]:
        """Return the step that applies a committed txn, unless the state has it already."""
        zxid, last_zxid = txn.header.zxid, self.last_zxid
        if zxid != last_zxid + 1:
            if zxid <= last_zxid:
                return self._passed_over(txn)
            self._check_first_of_epoch(zxid)
        self.last_zxid = zxid
        self.leader_zxid = max(self.leader_zxid, zxid)
        return [Apply(txn)]

    def _passed_over(self, txn: Txn) -> list[Step]:
        """Accept a txn that the state has already.

        A snapshot may have been written after the leader had sent the txn. While clients are
        served, only the txn of a request that Apache ZooKeeper could not read may repeat a zxid.
        """
        if self.phase is Phase.SERVING and txn.header.type != _ERROR:
            raise _RefusedError(
                f"the leader sent the txn 0x{txn.header.zxid:x} after 0x{self.last_zxid:x}"
            )
        return []

    def _check_first_of_epoch(self, zxid: int) -> None:
        """Check that no txn is missing before a txn that is not the next one of its epoch."""
        epoch = epoch_of(zxid)
        if epoch == epoch_of(self.last_zxid) or zxid != first_zxid_of(epoch) + 1:
            raise _RefusedError(
                f"the leader sent the txn 0x{zxid:x} after 0x{self.last_zxid:x}: the txns between"
                " them are missing"
            )
        if epoch > self.leader_epoch:
            raise _RefusedError(
                f"the leader of epoch {self.leader_epoch} sent a txn of epoch {epoch}"
            )

    def _history_ended(self, packet: QuorumPacket) -> list[Step]:
        """Process NEWLEADER: all of the leader's history was sent."""
        if packet.zxid != first_zxid_of(self.leader_epoch):
            raise _RefusedError(
                f"the leader of epoch {self.leader_epoch} began with zxid 0x{packet.zxid:x}"
            )
        steps: list[Step] = []
        if packet.data is not None and len(packet.data) > 1:
            config = self.config = decode_config(packet.data)
            if self._my_id in config.participants():
                raise _RefusedError(_voter(self._my_id), is_final=True)
            steps.append(Activate(config, None))
        steps.append(InstallSnapshot() if self._is_snapshot_taken else MakeDurable())
        if self._current_epoch != self.leader_epoch:
            self._current_epoch = self.leader_epoch
            steps.append(StoreCurrentEpoch(self.leader_epoch))
        steps.append(Send(QuorumPacket(_ACK, packet.zxid)))
        self.phase = Phase.ACKNOWLEDGED
        return steps

    def _up_to_date(self) -> list[Step]:
        if self.phase is Phase.SERVING:
            return []
        self.phase = Phase.SERVING
        return [Send(QuorumPacket(_ACK, first_zxid_of(self.leader_epoch))), Serve()]


def _unexpected(packet: QuorumPacket, phase: Phase) -> _RefusedError:
    return _RefusedError(
        f"the leader's packet {_name_of(packet)} is not allowed in the phase {phase.name}"
    )


def _name_of(packet: QuorumPacket) -> str:
    """Return the name of the type of a packet."""
    return PacketType(packet.type).name if packet.type in _KNOWN_TYPES else str(packet.type)


def _voter(my_id: int) -> str:
    return (
        f"myid is {my_id}, but in the ensemble's configuration server.{my_id} is a participant,"
        " which votes. An observer must not take a voter's place: write another number, which no"
        " member has, to the file myid."
    )
