"""A server that observes a leader of the test: what it does if the leader is strange."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Self

import pytest

from tests.support.interpreted import interpreted_only
from tests.support.leader_bytes import stream_of
from tests.support.simulated import TICK_MS, simulated_config
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.model.ensemble import EnsembleMember, QuorumAddress
from zoolet.model.learner import PacketType, QuorumPacket, first_zxid_of
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.txns import CreateTxn, Txn, TxnHeader
from zoolet.observer import replica
from zoolet.server.common.errors import ServerError
from zoolet.server.service import Server
from zoolet.server.zoo_cfg.config import ObserverConfig
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.rules import Rules
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.testing.servers.memory_disk import MemoryDisk
from zoolet.wire.jute import pack_ustring
from zoolet.wire.learner import PacketReader, encode_packet
from zoolet.wire.txns import decode_txn, encode_txn

WAIT_S = 20.0
ADDRESS = "127.0.0.1"
MY_ID = 101


class Link:
    """A leader's side of one connection.

    Attributes:
        last_zxid: the zxid that the observer has named in ACKEPOCH.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.last_zxid = -1
        self._reader = reader
        self._writer = writer
        self._packets = PacketReader()

    async def receive(self, expected: PacketType) -> QuorumPacket:
        """Return the next packet of this type; other packets are ignored."""
        while True:
            while (packet := self._packets.next()) is None:
                data = await self._reader.read(65536)
                if not data:
                    raise EOFError
                self._packets.feed(data)
            assert isinstance(packet, QuorumPacket)
            if packet.type == expected:
                return packet

    def send(self, packet_type: PacketType, zxid: int, data: bytes | None = None) -> None:
        self._writer.write(encode_packet(QuorumPacket(packet_type, zxid, data)))

    def raw(self, data: bytes) -> None:
        self._writer.write(data)

    async def greet(self, epoch: int) -> None:
        """Exchange the epochs."""
        await self.receive(PacketType.OBSERVER_INFO)
        self.send(PacketType.LEADER_INFO, first_zxid_of(epoch), struct.pack(">i", 0x10000))
        self.last_zxid = (await self.receive(PacketType.ACK_EPOCH)).zxid

    async def lead(self, epoch: int, config: bytes = b"") -> None:
        """End the history, and let the observer serve."""
        self.send(PacketType.NEW_LEADER, first_zxid_of(epoch), config)
        await self.receive(PacketType.ACK)
        self.send(PacketType.UP_TO_DATE, -1)
        await self.receive(PacketType.ACK)

    def propose(self, first_zxid: int, count: int, time_ms: int = 1) -> None:
        """Send txns that create znodes, with their commits."""
        for zxid in range(first_zxid, first_zxid + count):
            self.send(PacketType.PROPOSAL, zxid, encode_txn(created(zxid, time_ms)))
            self.send(PacketType.COMMIT, zxid)

    async def closed(self) -> None:
        """Return when the observer has ended the connection."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(65536):
                pass


Script = Callable[[Link], Awaitable[None]]


class Leader:
    """A member that treats each connection by the next script; the last script is repeated."""

    def __init__(self, *scripts: Script) -> None:
        self.links = 0
        self.failures: list[BaseException] = []
        self._scripts = scripts
        self._server: asyncio.Server
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, ADDRESS, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(self.links, len(self._scripts) - 1)]
        self.links += 1
        try:
            await script(Link(reader, writer))
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass
        except Exception as error:  # noqa: BLE001 -- the test reports it
            self.failures.append(error)
        finally:
            writer.close()


def path_of(zxid: int) -> str:
    return f"/txn-{zxid:x}"


def created(zxid: int, time_ms: int = 1) -> Txn:
    body = CreateTxn(path_of(zxid), b"", OPEN_ACL, OwnerKind.NOBODY, 1)
    return Txn(TxnHeader(1, 1, zxid, time_ms, OpCode.CREATE), body)


@contextlib.asynccontextmanager
async def observer_of(
    disk: MemoryDisk,
    *leaders: Leader,
    limit_ms: int = 5 * TICK_MS,
    other_history: str | None = None,
) -> AsyncIterator[Server]:
    """Run an observer whose ensemble consists of these leaders."""
    members = {
        number: EnsembleMember(number, (QuorumAddress(ADDRESS, leader.port, 1),), True, "")
        for number, leader in enumerate(leaders, 1)
    }
    settings = ObserverConfig(MY_ID, members, limit_ms, limit_ms, None, None, False, other_history)
    config = simulated_config(Path("/observer"), Rules())._replace(
        observer=settings, client_address=ADDRESS, admin=None
    )
    async with Server(config, disk, owns_process=False) as server:
        yield server
    for leader in leaders:
        assert leader.failures == []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.005)


def zxid(epoch: int, number: int) -> int:
    return first_zxid_of(epoch) + number


def paths(server: Server) -> set[str]:
    """Return the znodes that txns of this test have created."""
    return {path for path, _ in server.machine.tree.znodes() if path.startswith("/txn-")}


async def first_history(link: Link) -> None:
    """Give an empty observer five txns of epoch 1, and end the connection."""
    await link.greet(1)
    link.send(PacketType.DIFF, zxid(1, 5))
    link.propose(zxid(1, 1), 5)
    await link.lead(1)


async def stay(link: Link) -> None:
    """Wait until the observer ends the connection."""
    await link.closed()


def test_what_the_leader_does_not_have_is_cut_and_set_aside() -> None:
    async def truncating(link: Link) -> None:
        await link.greet(2)
        assert link.last_zxid == zxid(1, 5)
        link.send(PacketType.TRUNC, zxid(1, 3))
        await link.lead(2)
        link.send(PacketType.INFORM, zxid(2, 1), encode_txn(created(zxid(2, 1))))
        await stay(link)

    async def run() -> None:
        disk = MemoryDisk()
        async with Leader(first_history, truncating) as leader, observer_of(disk, leader) as server:
            await until(lambda: server.machine.zxid == zxid(2, 1))
            assert paths(server) == {path_of(each) for each in expected}
            assert server.machine.replaced_zxid == zxid(1, 3), "zxids do not compare any more"
        async with Leader(stay) as silent, observer_of(disk, silent, limit_ms=50) as again:
            assert paths(again) == {path_of(each) for each in expected}

    expected = [zxid(1, 1), zxid(1, 2), zxid(1, 3), zxid(2, 1)]
    asyncio.run(run())


def test_a_snapshot_that_continues_the_history_keeps_the_order_of_zxids() -> None:
    """A client that sets its watches again gets events only for what has changed."""

    async def sending(link: Link) -> None:
        await link.greet(2)
        machine = StateMachine(Tree.fresh(), SessionTable(TICK_MS), zxid(1, 5))
        machine.apply(created(zxid(1, 9)))
        link.send(PacketType.SNAP, zxid(1, 9))
        link.raw(stream_of(machine) + pack_ustring("BenWasHere"))
        await link.lead(2)
        await stay(link)

    async def run() -> None:
        async with (
            Leader(first_history, sending) as leader,
            observer_of(MemoryDisk(), leader) as server,
        ):
            await until(lambda: server.machine.zxid == zxid(1, 9))
            assert paths(server) == {path_of(zxid(1, 9))}
            assert server.machine.replaced_zxid == 0

    asyncio.run(run())


def test_a_log_that_does_not_reach_back_is_replaced_by_a_snapshot() -> None:
    asked: list[int] = []

    async def truncating(link: Link) -> None:
        await link.greet(2)
        asked.append(link.last_zxid)
        if link.last_zxid:
            # Before the first txn in the log; the snapshot of zxid 0 does not have it either.
            link.send(PacketType.TRUNC, zxid(1, 0) - 1)
        await stay(link)

    async def run() -> None:
        async with (
            Leader(first_history, truncating) as leader,
            observer_of(MemoryDisk(), leader),
        ):
            await until(lambda: len(asked) == 2)

    asyncio.run(run())
    assert asked == [zxid(1, 5), 0]


def test_a_member_that_hangs_does_not_keep_the_observer_from_the_leader() -> None:
    async def run() -> None:
        async with (
            Leader(stay) as hanging,
            Leader(lambda link: led(link, stay)) as leader,
            observer_of(MemoryDisk(), hanging, leader, limit_ms=1 << 30) as server,
        ):
            await until(lambda: server.machine.zxid == zxid(1, 5))

    asyncio.run(run())


async def led(link: Link, then: Script) -> None:
    await first_history(link)
    await then(link)


def test_a_silent_leader_is_left_after_sync_limit() -> None:
    async def run() -> None:
        async with (
            Leader(lambda link: led(link, stay)) as leader,
            observer_of(MemoryDisk(), leader, limit_ms=300),
        ):
            await until(lambda: leader.links >= 2)

    asyncio.run(run())


@pytest.mark.parametrize(
    "answer",
    [
        b"\x7f" * 100,
        encode_packet(QuorumPacket(PacketType.UP_TO_DATE, -1)),
        encode_packet(QuorumPacket(PacketType.LEADER_INFO, 0, b"")),
    ],
    ids=["no packet", "a packet out of order", "a malformed packet"],
)
def test_a_strange_answer_ends_the_link_and_not_the_server(answer: bytes) -> None:
    async def strange(link: Link) -> None:
        await link.receive(PacketType.OBSERVER_INFO)
        link.raw(answer)
        await stay(link)

    async def run() -> None:
        async with (
            Leader(strange, lambda link: led(link, stay)) as leader,
            observer_of(MemoryDisk(), leader) as server,
        ):
            await until(lambda: server.machine.zxid == zxid(1, 5))
            assert leader.links == 2

    asyncio.run(run())


def test_an_answer_to_a_request_that_was_not_sent_ends_the_link() -> None:
    async def answering(link: Link) -> None:
        await first_history(link)
        link.send(PacketType.SYNC, 0)
        await stay(link)

    async def following(link: Link) -> None:
        await link.greet(1)
        link.send(PacketType.DIFF, zxid(1, 5))
        await link.lead(1)
        await stay(link)

    async def run() -> None:
        async with (
            Leader(answering, following) as leader,
            observer_of(MemoryDisk(), leader) as server,
        ):
            await until(lambda: leader.links == 2)
            await until(lambda: server.machine.zxid == zxid(1, 5))

    asyncio.run(run())


@interpreted_only
def test_too_little_memory_for_a_txn_costs_only_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was changed, so the next link begins with the same txn."""
    failures = 0

    def decode(data: bytes) -> Txn:
        nonlocal failures
        if not failures:
            failures += 1
            raise MemoryError
        return decode_txn(data)

    async def again(link: Link) -> None:
        await link.greet(1)
        assert link.last_zxid == 0
        link.send(PacketType.DIFF, zxid(1, 5))
        link.propose(zxid(1, 1), 5)
        await link.lead(1)
        await stay(link)

    async def run() -> None:
        async with Leader(again) as leader, observer_of(MemoryDisk(), leader) as server:
            await until(lambda: server.machine.zxid == zxid(1, 5))
            assert (failures, leader.links) == (1, 2)

    monkeypatch.setattr(replica, "decode_txn", decode)
    asyncio.run(run())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (b"server.101=a:1:2:participant\nversion=0", "is a participant, which votes"),
        (b"server.101=a:1:2:observer\nversion=0", "knows another observer with this number"),
    ],
)
def test_a_known_number_stops_the_server(config: bytes, said: str) -> None:
    async def known(link: Link) -> None:
        await link.greet(1)
        link.send(PacketType.DIFF, 0)
        await link.lead(1, config)

    async def run() -> None:
        async with Leader(known) as leader:
            with pytest.raises(ServerError, match=said):
                async with observer_of(MemoryDisk(), leader):
                    pass

    asyncio.run(run())
