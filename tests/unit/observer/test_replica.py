"""The observer's side of a connection: each packet of a leader, and the steps after it."""

import random
import struct

import pytest

from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.model.learner import PacketType, QuorumPacket, first_zxid_of
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.txns import CreateTxn, ErrorTxn, SetDataTxn, Txn, TxnHeader
from zoolet.observer.replica import MAX_PROPOSALS, Phase, Replica
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
from zoolet.wire.txns import encode_txn

MY_ID = 200
EPOCH_2 = first_zxid_of(2)
CONFIG = b"server.1=a:1:2:participant\nserver.200=b:1:2:observer\nversion=4"
DIGEST = bytes.fromhex("00000002 0123456789abcdef")


def txn_of(zxid: int, op_code: int = OpCode.CREATE) -> Txn:
    if op_code == OpCode.ERROR:
        return Txn(TxnHeader(1, 2, zxid, 4, op_code), ErrorTxn(ErrorCode.NO_NODE))
    if op_code == OpCode.RECONFIG:
        body = SetDataTxn("/zookeeper/config", CONFIG, -1)
        return Txn(TxnHeader(1, 2, zxid, 4, op_code), body)
    created = CreateTxn(f"/{zxid:x}", b"", OPEN_ACL, OwnerKind.NOBODY, 1)
    return Txn(TxnHeader(1, 2, zxid, 4, op_code), created)


def inform(zxid: int, op_code: int = OpCode.CREATE) -> QuorumPacket:
    return QuorumPacket(PacketType.INFORM, zxid, encode_txn(txn_of(zxid, op_code)) + DIGEST)


def propose(zxid: int) -> QuorumPacket:
    return QuorumPacket(PacketType.PROPOSAL, zxid, encode_txn(txn_of(zxid)))


def commit(zxid: int) -> QuorumPacket:
    return QuorumPacket(PacketType.COMMIT, zxid)


def leader_info(epoch: int) -> QuorumPacket:
    return QuorumPacket(PacketType.LEADER_INFO, first_zxid_of(epoch), bytes.fromhex("00010000"))


def new_leader(epoch: int, config: bytes | None = CONFIG) -> QuorumPacket:
    return QuorumPacket(PacketType.NEW_LEADER, first_zxid_of(epoch), config)


def choice(packet_type: PacketType, zxid: int) -> QuorumPacket:
    return QuorumPacket(packet_type, zxid)


UP_TO_DATE = QuorumPacket(PacketType.UP_TO_DATE, -1)


def greeted(last_zxid: int, epoch: int = 2) -> Replica:
    """Return a replica that waits for the leader's choice."""
    replica = Replica(MY_ID, last_zxid >> 32, last_zxid >> 32, last_zxid)
    replica.connected()
    replica.received(leader_info(epoch))
    assert replica.phase is Phase.CHOOSING
    return replica


def serving(last_zxid: int = EPOCH_2 + 3) -> Replica:
    replica = greeted(last_zxid)
    for packet in (choice(PacketType.DIFF, last_zxid), new_leader(2), UP_TO_DATE):
        replica.received(packet)
    assert replica.phase is Phase.SERVING
    return replica


def reason_of(steps: list[Step], *, is_final: bool = False) -> str:
    """Return why the replica gives up."""
    assert isinstance(steps[-1], GiveUp)
    assert steps[-1].is_final is is_final
    return steps[-1].reason


def test_the_first_packet_has_only_the_accepted_epoch() -> None:
    """An epoch that is higher than the leader's would raise the epoch of the ensemble."""
    replica = Replica(MY_ID, 7, 5, first_zxid_of(9) + 1)
    info = struct.pack(">qiq", MY_ID, 0x10000, 0)
    assert replica.connected() == [
        Send(QuorumPacket(PacketType.OBSERVER_INFO, first_zxid_of(7), info))
    ]


def test_a_newer_epoch_is_stored_before_it_is_acknowledged() -> None:
    replica = Replica(MY_ID, 1, 1, first_zxid_of(1) + 9)
    replica.connected()
    assert replica.received(leader_info(2)) == [
        StoreAcceptedEpoch(2),
        Send(QuorumPacket(PacketType.ACK_EPOCH, first_zxid_of(1) + 9, struct.pack(">i", 1))),
    ]
    assert replica.leader_epoch == 2


def test_the_accepted_epoch_is_acknowledged_without_the_current_one() -> None:
    replica = Replica(MY_ID, 2, 1, first_zxid_of(1) + 9)
    replica.connected()
    assert replica.received(leader_info(2)) == [
        Send(QuorumPacket(PacketType.ACK_EPOCH, first_zxid_of(1) + 9, struct.pack(">i", -1)))
    ]


def test_an_older_epoch_is_refused() -> None:
    replica = Replica(MY_ID, 3, 3, first_zxid_of(3))
    replica.connected()
    assert "accepted epoch 3" in reason_of(replica.received(leader_info(2)))
    assert replica.received(inform(1)) == []


def test_an_old_protocol_is_refused() -> None:
    replica = Replica(MY_ID, 1, 1, 0)
    replica.connected()
    packet = QuorumPacket(PacketType.LEADER_INFO, first_zxid_of(2), bytes(4))
    assert "version 0x0" in reason_of(replica.received(packet), is_final=True)


def test_missing_history_is_applied_when_it_is_committed() -> None:
    last = first_zxid_of(1) + 9
    replica = greeted(last)
    assert replica.received(choice(PacketType.DIFF, EPOCH_2 + 1)) == []
    assert replica.leader_zxid == EPOCH_2 + 1
    assert replica.received(propose(last + 1)) == []
    assert replica.received(propose(EPOCH_2 + 1)) == []
    assert replica.received(commit(last + 1)) == [Apply(txn_of(last + 1))]
    assert replica.received(commit(EPOCH_2 + 1)) == [Apply(txn_of(EPOCH_2 + 1))]
    assert replica.received(inform(EPOCH_2 + 2)) == [Apply(txn_of(EPOCH_2 + 2))]
    assert replica.received(new_leader(2)) == [
        Activate(decode_config(CONFIG), None),
        MakeDurable(),
        StoreCurrentEpoch(2),
        Send(QuorumPacket(PacketType.ACK, EPOCH_2)),
    ]
    assert replica.received(inform(EPOCH_2 + 3)) == [Apply(txn_of(EPOCH_2 + 3))]
    assert replica.received(UP_TO_DATE) == [Send(QuorumPacket(PacketType.ACK, EPOCH_2)), Serve()]
    assert replica.last_zxid == EPOCH_2 + 3


def test_the_current_epoch_is_stored_only_if_it_changes() -> None:
    replica = greeted(EPOCH_2 + 3)
    replica.received(choice(PacketType.DIFF, EPOCH_2 + 3))
    assert replica.received(new_leader(2, None)) == [
        MakeDurable(),
        Send(QuorumPacket(PacketType.ACK, EPOCH_2)),
    ]


def test_a_log_that_is_ahead_is_cut() -> None:
    replica = greeted(EPOCH_2 + 1000)
    assert replica.received(choice(PacketType.TRUNC, EPOCH_2 + 5)) == [Truncate(EPOCH_2 + 5)]
    assert replica.received(inform(EPOCH_2 + 6)) == [Apply(txn_of(EPOCH_2 + 6))]


def test_a_log_is_not_cut_at_its_end_or_behind_it() -> None:
    replica = greeted(EPOCH_2 + 5)
    assert replica.received(choice(PacketType.TRUNC, EPOCH_2 + 5)) == []
    replica = greeted(EPOCH_2 + 5)
    assert "cut" in reason_of(replica.received(choice(PacketType.TRUNC, EPOCH_2 + 6)))


def test_txns_that_a_snapshot_has_are_passed_over() -> None:
    replica = greeted(0)
    assert replica.received(choice(PacketType.SNAP, EPOCH_2 + 5)) == [TakeSnapshot(EPOCH_2 + 5)]
    assert replica.snapshot_received() == []
    for zxid in (EPOCH_2 + 4, EPOCH_2 + 5):
        assert replica.received(inform(zxid)) == []
        assert replica.received(propose(zxid)) == []
        assert replica.received(commit(zxid)) == []
    assert replica.received(inform(EPOCH_2 + 6)) == [Apply(txn_of(EPOCH_2 + 6))]
    steps = replica.received(new_leader(2))
    assert steps[1:] == [
        InstallSnapshot(),
        StoreCurrentEpoch(2),
        Send(QuorumPacket(PacketType.ACK, EPOCH_2)),
    ]


def test_a_snapshot_must_be_complete_before_the_next_packet() -> None:
    replica = greeted(0)
    replica.received(choice(PacketType.SNAP, EPOCH_2 + 5))
    assert "TAKING_SNAPSHOT" in reason_of(replica.received(inform(EPOCH_2 + 6)))


@pytest.mark.parametrize(
    ("last_zxid", "zxid"),
    [
        (EPOCH_2 + 3, EPOCH_2 + 5),
        (first_zxid_of(1) + 3, EPOCH_2 + 2),
        (first_zxid_of(1) + 3, EPOCH_2),
    ],
)
def test_a_gap_is_refused(last_zxid: int, zxid: int) -> None:
    replica = greeted(last_zxid)
    replica.received(choice(PacketType.DIFF, last_zxid))
    assert f"0x{zxid:x}" in reason_of(replica.received(inform(zxid)))
    assert replica.last_zxid == last_zxid


def test_a_txn_of_a_later_epoch_than_the_leader_s_is_refused() -> None:
    assert "epoch 3" in reason_of(serving().received(inform(first_zxid_of(3) + 1)))


def test_a_txn_may_not_come_twice_while_clients_are_served() -> None:
    assert "0x200000003" in reason_of(serving().received(inform(EPOCH_2 + 3)))


def test_a_refused_request_may_repeat_a_zxid() -> None:
    """Apache ZooKeeper gives the last zxid again to a request that it could not read."""
    replica = serving()
    assert replica.received(inform(EPOCH_2 + 3, OpCode.ERROR)) == []
    assert replica.received(inform(EPOCH_2 + 4, OpCode.ERROR)) == [
        Apply(txn_of(EPOCH_2 + 4, OpCode.ERROR))
    ]


def test_a_commit_without_its_proposal_is_refused() -> None:
    replica = serving()
    assert replica.received(commit(EPOCH_2 + 3)) == []
    assert "0x200000004" in reason_of(replica.received(commit(EPOCH_2 + 4)))


def test_a_proposal_that_comes_again_as_a_committed_txn_is_applied_once() -> None:
    """Old leaders send observers the proposals, and later inform them."""
    replica = serving()
    assert replica.received(propose(EPOCH_2 + 4)) == []
    assert replica.received(inform(EPOCH_2 + 4)) == [Apply(txn_of(EPOCH_2 + 4))]
    assert replica.received(propose(EPOCH_2 + 5)) == []
    assert replica.received(commit(EPOCH_2 + 5)) == [Apply(txn_of(EPOCH_2 + 5))]


def test_proposals_without_commits_are_limited() -> None:
    replica = serving()
    packet = propose(EPOCH_2 + 4)
    for _ in range(MAX_PROPOSALS):
        assert replica.received(packet) == []
    assert "without commits" in reason_of(replica.received(packet))


def test_a_leader_of_another_epoch_is_refused() -> None:
    replica = greeted(EPOCH_2 + 3)
    replica.received(choice(PacketType.DIFF, EPOCH_2 + 3))
    assert "began with" in reason_of(replica.received(new_leader(3)))


def test_the_id_of_a_participant_is_refused_for_ever() -> None:
    replica = Replica(1, 2, 2, EPOCH_2 + 3)
    replica.connected()
    replica.received(leader_info(2))
    replica.received(choice(PacketType.DIFF, EPOCH_2 + 3))
    reason = reason_of(replica.received(new_leader(2)), is_final=True)
    assert "server.1 is a participant" in reason
    assert "myid" in reason


def test_a_reconfig_is_applied_and_reported() -> None:
    zxid = EPOCH_2 + 4
    packet = QuorumPacket(
        PacketType.INFORM_AND_ACTIVATE,
        zxid,
        struct.pack(">q", 3) + encode_txn(txn_of(zxid, OpCode.RECONFIG)) + DIGEST,
    )
    replica = serving()
    assert replica.received(packet) == [
        Apply(txn_of(zxid, OpCode.RECONFIG)),
        Activate(decode_config(CONFIG), 3),
    ]
    assert replica.config == decode_config(CONFIG)


def test_a_reconfig_that_makes_this_server_a_voter_ends_it() -> None:
    replica = Replica(1, 2, 2, EPOCH_2 + 3)
    replica.connected()
    replica.received(leader_info(2))
    replica.received(choice(PacketType.DIFF, EPOCH_2 + 3))
    replica.received(new_leader(2, None))
    zxid = EPOCH_2 + 4
    data = struct.pack(">q", 3) + encode_txn(txn_of(zxid, OpCode.RECONFIG))
    steps = replica.received(QuorumPacket(PacketType.INFORM_AND_ACTIVATE, zxid, data))
    assert steps[0] == Apply(txn_of(zxid, OpCode.RECONFIG))
    assert "participant" in reason_of(steps, is_final=True)
    assert replica.received(inform(zxid + 1)) == []


def test_questions_of_the_leader_are_answered() -> None:
    replica = serving()
    assert replica.received(QuorumPacket(PacketType.PING, EPOCH_2 + 50)) == [
        AnswerPing(EPOCH_2 + 50)
    ]
    assert replica.leader_zxid == EPOCH_2 + 50
    assert replica.received(QuorumPacket(PacketType.SYNC, 0)) == [AnswerSync()]
    valid = QuorumPacket(PacketType.REVALIDATE, -1, struct.pack(">qB", 5, 1))
    assert replica.received(valid) == [Revalidated(5, is_valid=True)]
    assert replica.received(UP_TO_DATE) == []
    assert replica.received(QuorumPacket(99, 0)) == []


def test_a_ping_before_the_leader_s_history_ended_is_refused() -> None:
    """An answer would come before the acknowledgement, which the leader waits for."""
    replica = greeted(EPOCH_2 + 3)
    replica.received(choice(PacketType.DIFF, EPOCH_2 + 3))
    assert "PING" in reason_of(replica.received(QuorumPacket(PacketType.PING, 0)))
    replica = greeted(EPOCH_2 + 3)
    replica.received(choice(PacketType.DIFF, EPOCH_2 + 3))
    replica.received(new_leader(2))
    assert replica.received(QuorumPacket(PacketType.PING, 5)) == [AnswerPing(5)]


@pytest.mark.parametrize(
    "packet",
    [
        QuorumPacket(PacketType.INFORM, EPOCH_2 + 4, b"short"),
        QuorumPacket(PacketType.INFORM, EPOCH_2 + 4),
        QuorumPacket(PacketType.INFORM, EPOCH_2 + 4, encode_txn(txn_of(EPOCH_2 + 5))),
        QuorumPacket(PacketType.REVALIDATE, -1, b""),
        QuorumPacket(PacketType.INFORM_AND_ACTIVATE, EPOCH_2 + 4, b""),
        QuorumPacket(PacketType.SNAP, EPOCH_2 + 4),
        QuorumPacket(PacketType.FOLLOWER_INFO, 0),
    ],
)
def test_a_wrong_packet_ends_the_connection(packet: QuorumPacket) -> None:
    assert reason_of(serving().received(packet))


@pytest.mark.parametrize("seed", range(100))
def test_any_packets_keep_the_invariants(seed: int) -> None:
    """A leader of a broken program may send anything; most packets here fit the phase."""
    chance = random.Random(seed)
    last = first_zxid_of(chance.randrange(3)) + chance.randrange(5)
    accepted = (last >> 32) + chance.randrange(2)
    replica = Replica(MY_ID, accepted, last >> 32, last)
    replica.connected()
    named: set[int] = set()
    stored: list[int] = []
    has_ended = False
    for _ in range(200):
        packet = _random_packet(chance, replica)
        if packet.type == PacketType.LEADER_INFO:
            named.add(packet.zxid >> 32)
        if replica.phase is Phase.TAKING_SNAPSHOT and chance.random() < 0.8:
            assert replica.snapshot_received() == []
        for step in replica.received(packet):
            assert not has_ended
            if isinstance(step, GiveUp):
                has_ended = True
            if isinstance(step, StoreAcceptedEpoch | StoreCurrentEpoch):
                assert step.epoch in named
                assert step.epoch >= max(stored, default=0)
                stored.append(step.epoch)
            if isinstance(step, Truncate | TakeSnapshot):
                last = step.zxid
            if isinstance(step, Apply):
                zxid = step.txn.header.zxid
                assert zxid in {last + 1, first_zxid_of(zxid >> 32) + 1}
                assert zxid > last
                last = zxid
        assert has_ended == (replica.phase is Phase.ENDED)


def _random_packet(chance: random.Random, replica: Replica) -> QuorumPacket:
    zxid = replica.last_zxid + chance.choice([0, 1, 1, 1, 1, 1, 2])
    epoch = replica.leader_epoch
    if chance.random() < 0.02:
        data = chance.randbytes(chance.randrange(20))
        return QuorumPacket(chance.choice(list(PacketType)), zxid, data)
    match replica.phase:
        case Phase.HANDSHAKE:
            return leader_info(chance.randrange(5))
        case Phase.CHOOSING:
            kinds = [PacketType.DIFF, PacketType.SNAP, PacketType.TRUNC]
            return choice(chance.choice(kinds), max(0, replica.last_zxid - chance.randrange(3)))
        case _:
            pass
    packets = [inform(zxid), propose(zxid), commit(zxid), inform(first_zxid_of(epoch) + 1)]
    if replica.phase is Phase.SYNCHRONIZING:
        packets += [new_leader(epoch), propose(zxid)]
    else:
        packets += [UP_TO_DATE, QuorumPacket(PacketType.PING, zxid)]
    return chance.choice(packets)


def test_no_bytes_raise_another_error() -> None:
    chance = random.Random(5)
    for _ in range(2000):
        replica = chance.choice([serving, lambda: greeted(5)])()
        data = chance.randbytes(chance.randrange(60))
        replica.received(QuorumPacket(chance.choice(list(PacketType)), 5, data))
