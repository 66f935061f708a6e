"""The link to the leader: finds a leader, follows it, and finds the next one.

The server tries the quorum ports of all members, because only a leader accepts connections there. A
member that is going to lead accepts a connection and is silent until it has a quorum. A member that
hangs also accepts connections. So a silent member is left after some time, which grows with each
round.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from zoolet.model.ensemble import EnsembleConfig, QuorumAddress
from zoolet.model.learner import epoch_of
from zoolet.observer.replica import Replica
from zoolet.server.common.clock import Clock
from zoolet.server.common.scheduler import Scheduler
from zoolet.server.leader_link.channel import Channel
from zoolet.server.leader_link.comparison import Comparison
from zoolet.server.leader_link.connecting import connect
from zoolet.server.leader_link.errors import FatalLinkError, LinkError, NeedsSnapshotError
from zoolet.server.leader_link.following import Following
from zoolet.server.leader_link.own_database import OwnDatabase
from zoolet.server.logs.log_limiter import LogLimiter
from zoolet.server.pipeline.forwarded_writes import ForwardedWrites
from zoolet.server.zoo_cfg.config import ObserverConfig
from zoolet.storage.epochs import EpochFiles

log = logging.getLogger(__name__)

_FIRST_DELAY_S: Final = 0.1
_MOST_DELAY_S: Final = 3.0
_DELAY_FACTOR: Final = 1.5
_FIRST_PATIENCE_MS: Final = 1000
_LEAST_READ_ONLY_DELAY_MS: Final = 2000
"""Read-only mode begins when there was no leader for this time, or for a tick if that is longer
(``QuorumPeer.run``)."""

_LOG_INTERVAL_MS: Final = 10_000


class _Candidate(NamedTuple):
    """A member that may be the leader, and one of its addresses."""

    member_id: int
    address: QuorumAddress


class LeaderLink:
    """Follows the leaders of an ensemble, one after the other."""

    def __init__(
        self,
        settings: ObserverConfig,
        context: ssl.SSLContext | None,
        database: OwnDatabase,
        epochs: EpochFiles,
        forwarded: ForwardedWrites,
        clock: Clock,
        scheduler: Scheduler,
        tick_time_ms: int,
    ) -> None:
        self._settings = settings
        self._context = context
        self._database = database
        self._epochs = epochs
        self._forwarded = forwarded
        self._clock = clock
        self._scheduler = scheduler
        self._view = forwarded.leader.view
        self._read_only_delay_ms = max(_LEAST_READ_ONLY_DELAY_MS, tick_time_ms)
        self._config: EnsembleConfig | None = database.ensemble_config()
        self._has_seen_reconfig = False
        self._channel: Channel | None = None
        self._candidate: _Candidate | None = None
        self._designated_leader: int | None = None
        self._needs_snapshot = False
        self._proven_zxid = 0
        self._failures = 0
        self._lost_ms = clock.monotonic_ms()
        self._limited = LogLimiter(log, clock.monotonic_ms, _LOG_INTERVAL_MS)
        self._on_first: Callable[[], None] = lambda: None
        self._reasons: dict[str, str] = {}

    def when_first_tried(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once: when clients are served, or when no member is the leader."""
        self._on_first = callback

    async def run(self) -> None:
        """Follow leaders until this coroutine is cancelled.

        Raises FatalLinkError, and OSError or StorageError of the disk.
        """
        while True:
            self._reasons.clear()
            for candidate in self._candidates():
                if await self._try(candidate):
                    break
            else:
                reasons = "; ".join(f"{at}: {why}" for at, why in self._reasons.items())
                self._limited.info("no member is the leader, or not yet: %s", reasons)
                self._first_tried()
            self._failures += 1
            delay_s = min(_MOST_DELAY_S, _FIRST_DELAY_S * _DELAY_FACTOR**self._failures)
            # Not all observers of an ensemble at the same time.
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311 -- no secret

    def check(self) -> None:
        """Look at the clock: end a silent link, close sessions, begin the read-only mode."""
        now_ms = self._clock.monotonic_ms()
        if self._channel is not None:
            self._channel.check()
        self._forwarded.sessions.close_unrenewed(now_ms)
        view = self._view
        if (
            self._settings.has_read_only_mode
            and not view.is_serving
            and not view.is_read_only
            and now_ms - self._lost_ms >= self._read_only_delay_ms
        ):
            view.is_read_only = True
            log.warning("there is no leader: only read-only clients are served")

    # --- Finding the leader

    def _candidates(self) -> Iterator[_Candidate]:
        """Yield the addresses of all members that may lead; first the most probable one.

        The addresses in zoo.cfg are those that reach the members from here. A reconfig that this
        server sees may change them.
        """
        found: dict[_Candidate, None] = {}
        members = self._settings.members
        known = {} if self._config is None else self._config.members
        sources = [{**known, **members}]
        if self._has_seen_reconfig:
            sources.append(known)
        for source in sources:
            for member in source.values():
                if member.is_participant and member.id != self._settings.my_id:
                    for address in member.addresses:
                        found[_Candidate(member.id, address)] = None
        candidates = list(found)
        random.shuffle(candidates)
        candidates.sort(key=lambda candidate: candidate.member_id != self._designated_leader)
        yield from candidates

    async def _try(self, candidate: _Candidate) -> bool:
        """Follow a member if it is the leader; return whether it was."""
        settings = self._settings
        patience_ms = min(settings.init_limit_ms, _FIRST_PATIENCE_MS << min(self._failures, 10))
        address = candidate.address
        was_served = False
        try:
            channel, first_bytes = await connect(
                address, self._context, settings.login, self._clock.monotonic_ms, patience_ms
            )
            self._channel, self._candidate = channel, candidate
            await self._follow(channel, first_bytes)
        except NeedsSnapshotError as error:
            log.warning("%s: the leader must send a snapshot", error)
            self._needs_snapshot = True
        except LinkError as error:
            was_served = self._view.is_serving
            if was_served:
                log.warning("the link to the leader %s has ended: %s", address.quorum, error)
            else:
                self._reasons[address.quorum] = str(error)
        finally:
            self._lost()
        return was_served

    async def _follow(self, channel: Channel, first_bytes: bytes) -> None:
        comparison = await self._comparison()
        if self._needs_snapshot:
            zxid = 0
        else:
            zxid = self._database.zxid if comparison is None else comparison.after_zxid
        epoch = epoch_of(self._database.zxid)
        accepted, current = self._epochs.accepted, self._epochs.current
        replica = Replica(
            self._settings.my_id,
            epoch if accepted is None else accepted,
            epoch if current is None else current,
            zxid,
        )
        following = Following(
            self,
            channel,
            replica,
            self._database,
            self._epochs,
            self._forwarded,
            self._clock,
            self._scheduler,
            init_limit_ms=self._settings.init_limit_ms,
            sync_limit_ms=self._settings.sync_limit_ms,
            comparison=comparison,
        )
        try:
            await following.run(first_bytes)
        finally:
            if comparison is not None and comparison.is_proven_by_snapshot:
                self._proven_zxid = self._database.zxid

    async def _comparison(self) -> Comparison | None:
        """Return how the next leader's history is compared with that of this server."""
        proven_zxid, self._proven_zxid = self._proven_zxid, 0
        message = self._settings.other_history
        if message is None or self._database.zxid in {0, proven_zxid}:
            return None
        last = await self._database.last_txn()
        return Comparison(last, message, takes_snapshot=self._needs_snapshot)

    def _lost(self) -> None:
        """Forget the link, and close what waited for it."""
        if self._channel is not None:
            self._channel.abort("the link has ended")
        if self._view.is_serving:
            self._lost_ms = self._clock.monotonic_ms()
        self._channel = self._candidate = None
        view = self._view
        view.is_serving = False
        view.leader, view.leader_id = "", -1
        self._forwarded.link_lost()

    # --- What a link tells (Owner)

    def activate(self, config: EnsembleConfig, designated_leader: int | None) -> None:
        """Use a new list of members; raises LinkError if another leader must be found."""
        my_id = self._settings.my_id
        own, known = config.members.get(my_id), self._settings.members.get(my_id)
        if own is not None and (known is None or known.addresses != own.addresses):
            reason = (
                f"myid is {my_id}, and the ensemble knows another observer with this number, at"
                f" {own.addresses[0].quorum}. Write a number into myid that no member and no"
                f" observer has. If that observer is this server, add its line server.{my_id} of"
                " the ensemble's configuration to zoo.cfg."
            )
            if designated_leader is None:
                raise FatalLinkError(reason)
            # A reconfig adds the line of this server while it runs, or soon of another one.
            log.warning("%s The server continues until its next start.", reason)
        self._config = config
        self._has_seen_reconfig |= designated_leader is not None
        if designated_leader is None or self._candidate is None:
            return
        self._designated_leader = designated_leader
        if designated_leader != self._candidate.member_id:
            raise LinkError(f"a reconfig chooses server.{designated_leader} as the leader")

    def serve(self) -> None:
        """Serve clients: the database is up to date."""
        channel, candidate = self._channel, self._candidate
        if channel is None or candidate is None:
            return
        self._failures = 0
        self._needs_snapshot = False
        self._forwarded.sessions.close_all()
        self._forwarded.leader.follow(channel.write)
        view = self._view
        view.is_serving, view.is_read_only = True, False
        view.leader, view.leader_id = channel.address, candidate.member_id
        view.links += 1
        log.info(
            "following the leader server.%d at %s, from zxid 0x%x on",
            candidate.member_id,
            channel.address,
            self._database.zxid,
        )
        self._first_tried()

    def _first_tried(self) -> None:
        callback, self._on_first = self._on_first, lambda: None
        callback()
