"""Follows one leader: passes its packets to the replica, and executes the steps in order."""

import asyncio
import logging
import time
from typing import Final, Protocol

from zoolet.model.ensemble import EnsembleConfig
from zoolet.model.learner import PacketType, QuorumPacket
from zoolet.observer.forwarded import OrderError
from zoolet.observer.replica import Phase, Replica
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
from zoolet.server.common.clock import Clock
from zoolet.server.common.scheduler import Scheduler, Share
from zoolet.server.leader_link.channel import Channel
from zoolet.server.leader_link.comparison import Comparison
from zoolet.server.leader_link.errors import FatalLinkError, LinkError
from zoolet.server.leader_link.own_database import OwnDatabase
from zoolet.server.leader_link.received_database import ReceivedDatabase
from zoolet.server.pipeline.forwarded_writes import ForwardedWrites
from zoolet.storage.epochs import EpochFiles
from zoolet.wire.jute import MalformedError
from zoolet.wire.learner import (
    PacketReader,
    SnapshotEnd,
    SnapshotPiece,
    encode_packet,
    encode_touched,
)

log = logging.getLogger(__name__)

_TURN_S: Final = 0.005
"""After this time of work on packets, other work gets its turn. Clients may work for 20 ms then, so
a shorter time would let the observer fall behind a busy leader."""


class Owner(Protocol):
    """What a link must be told (``LeaderLink``)."""

    def activate(self, config: EnsembleConfig, designated_leader: int | None) -> None:
        """Use a new list of members; raises LinkError if another leader must be found."""

    def serve(self) -> None:
        """Serve clients: the database is up to date."""


class Following:
    """The work on one link to a leader."""

    def __init__(
        self,
        owner: Owner,
        channel: Channel,
        replica: Replica,
        database: OwnDatabase,
        epochs: EpochFiles,
        forwarded: ForwardedWrites,
        clock: Clock,
        scheduler: Scheduler,
        *,
        init_limit_ms: int,
        sync_limit_ms: int,
        comparison: Comparison | None = None,
    ) -> None:
        """Prepare the work; ``comparison`` is None if the histories are not compared."""
        self._owner = owner
        self._channel = channel
        self._replica = replica
        self._database = database
        self._epochs = epochs
        self._forwarded = forwarded
        self._clock = clock
        self._scheduler = scheduler
        self._share = Share("following the leader")
        self._init_limit_ms = init_limit_ms
        self._sync_limit_ms = sync_limit_ms
        self._comparison = comparison
        self._held: StoreAcceptedEpoch | None = None
        self._received: ReceivedDatabase | None = None

    async def run(self, first_bytes: bytes) -> None:
        """Follow the leader until the link ends; always raises an exception.

        Raises LinkError, FatalLinkError, and OSError or StorageError of the disk.
        """
        reader = PacketReader()
        if first_bytes:
            reader.feed(first_bytes)
        try:
            await self._execute(self._replica.connected())
            while True:
                await self._take_all(reader)
                reader.feed(await self._channel.read())
                self._heard()
        except MalformedError as error:
            raise LinkError(f"the leader sent bytes that cannot be read: {error}") from error
        except OrderError as error:
            raise LinkError(str(error)) from error
        except MemoryError as error:
            if self._forwarded.is_changing:
                raise
            raise LinkError("not enough memory for a packet of the leader") from error
        finally:
            if self._received is not None:
                await self._received.abandon()

    def _heard(self) -> None:
        # First close what the silence until now has ended.
        self._forwarded.sessions.close_unrenewed(self._channel.heard_ms)
        self._forwarded.leader.contact.heard(self._channel.heard_ms)
        is_serving = self._replica.phase is Phase.SERVING
        self._channel.limit_ms = self._sync_limit_ms if is_serving else self._init_limit_ms

    async def _take_all(self, reader: PacketReader) -> None:
        """Process everything that has arrived completely."""
        began_s = self._scheduler.now_s()
        while (item := reader.next()) is not None:
            if isinstance(item, QuorumPacket):
                await self._execute(self._replica.received(item))
            elif isinstance(item, SnapshotPiece):
                await self._taken().add(item.data)
            elif isinstance(item, SnapshotEnd):
                await self._taken().complete()
                await self._execute(self._replica.snapshot_received())
            if self._scheduler.now_s() - began_s >= _TURN_S:
                self._note(began_s)
                await asyncio.sleep(0)
                began_s = self._scheduler.now_s()
        self._note(began_s)

    def _note(self, began_s: float) -> None:
        self._forwarded.leader.view.leader_zxid = self._replica.leader_zxid
        self._forwarded.leader.flush()
        self._scheduler.used(self._share, began_s)

    def _taken(self) -> ReceivedDatabase:
        if self._received is None:
            raise LinkError("the leader sent a snapshot that it did not announce")
        return self._received

    async def _execute(self, steps: list[Step]) -> None:
        for step in steps:
            if isinstance(step, Apply):
                if self._received is not None:
                    await self._received.apply(step.txn)
                elif self._comparison is None:
                    self._forwarded.apply(step.txn)
                else:
                    self._comparison.check(step.txn)
                    await self._compared()
            elif isinstance(step, AnswerPing):
                self._answer_ping(step.zxid)
            elif isinstance(step, AnswerSync):
                self._forwarded.answer_sync()
            elif isinstance(step, Revalidated):
                self._forwarded.sessions.revalidated(step.session_id, step.is_valid)
            elif isinstance(step, Send):
                self._channel.write(encode_packet(step.packet))
            elif self._comparison is not None:
                await self._execute_compared(step, self._comparison)
            else:
                await self._execute_rare(step)

    async def _execute_compared(self, step: Step, comparison: Comparison) -> None:
        """Execute a step while it is not known whether the histories are the same."""
        if isinstance(step, StoreAcceptedEpoch):
            # An epoch of another ensemble could exclude this server from its own ensemble.
            self._held = step
            return
        if isinstance(step, MakeDurable):
            comparison.check(None)
        if isinstance(step, InstallSnapshot):
            await comparison.check_snapshot(self._database, self._taken())
            await self._compared()
        await self._execute_rare(step)
        if isinstance(step, Truncate):
            raise LinkError("the log was cut: the next link compares its last txn")

    async def _compared(self) -> None:
        """Continue without comparisons: the histories are the same."""
        self._comparison = None
        if self._held is not None:
            await self._execute_rare(self._held)

    async def _execute_rare(self, step: Step) -> None:
        database, epochs = self._database, self._epochs
        if isinstance(step, StoreAcceptedEpoch):
            epoch = step.epoch
            await database.store(lambda: epochs.store_accepted(epoch))
        elif isinstance(step, StoreCurrentEpoch):
            current = step.epoch
            await database.store(lambda: epochs.store_current(current))
        elif isinstance(step, TakeSnapshot):
            self._received = await database.receive(step.zxid)
        elif isinstance(step, InstallSnapshot):
            began_s = time.monotonic()
            received, self._received = self._taken(), None
            await database.install(received)
            log.info("the switch to the leader's database took %.3f s", time.monotonic() - began_s)
        elif isinstance(step, Truncate):
            await database.truncate(step.zxid)
        elif isinstance(step, Activate):
            self._owner.activate(step.config, step.designated_leader)
        elif isinstance(step, Serve):
            self._channel.limit_ms = self._sync_limit_ms
            self._owner.serve()
        elif isinstance(step, GiveUp):
            raise FatalLinkError(step.reason) if step.is_final else LinkError(step.reason)

    def _answer_ping(self, zxid: int) -> None:
        leader = self._forwarded.leader
        leader.flush()
        touched = leader.contact.take_touched(self._clock.monotonic_ms())
        self._channel.write(
            encode_packet(QuorumPacket(PacketType.PING, zxid, encode_touched(touched)))
        )
