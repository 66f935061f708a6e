"""An observer that compares histories never mixes those of two ensembles."""

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from tests.support.leader_bytes import stream_of
from tests.support.simulated import TICK_MS
from tests.unit.server.leader_link.test_link import (
    Leader,
    Link,
    created,
    first_history,
    observer_of,
    path_of,
    paths,
    stay,
    until,
    zxid,
)
from zoolet.model.learner import PacketType
from zoolet.server.common.errors import ServerError
from zoolet.server.service import Server
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.testing.servers.memory_disk import MemoryDisk
from zoolet.wire.jute import pack_ustring

MESSAGE = "the ensemble has another history"


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests need several links."""
    monkeypatch.setattr("zoolet.server.leader_link.link._FIRST_DELAY_S", 0.001)


@dataclass
class Ensemble:
    """A leader that chooses as Apache's ``LearnerHandler.syncFollower`` does.

    Attributes:
        zxids: its txns.
        time_ms: their time; ensembles with the same zxids differ in it.
        memory: the number of txns that it keeps; for older ones it sends a snapshot.
        epoch: its epoch.
        asked: the zxids that the observer has named.
        choices: what it has sent.
    """

    zxids: list[int]
    time_ms: int = 1
    memory: int = 500
    epoch: int = 2
    asked: list[int] = field(default_factory=list)
    choices: list[PacketType] = field(default_factory=list)

    def snapshot(self, link: Link) -> None:
        machine = StateMachine(Tree.fresh(), SessionTable(TICK_MS), 0)
        for each in self.zxids:
            machine.apply(created(each, self.time_ms))
        link.send(PacketType.SNAP, machine.zxid)
        link.raw(stream_of(machine) + pack_ustring("BenWasHere"))

    async def __call__(self, link: Link) -> None:
        await link.greet(self.epoch)
        last = link.last_zxid
        self.asked.append(last)
        kept = self.zxids[-self.memory :]
        later: list[int] = []
        if last == self.zxids[-1]:
            choice = PacketType.DIFF
        elif last < kept[0]:
            choice = PacketType.SNAP
        else:
            before = [each for each in self.zxids if each <= last]
            choice = PacketType.DIFF if before[-1] == last else PacketType.TRUNC
            later = [each for each in kept if each > last]
        self.choices.append(choice)
        if choice is PacketType.SNAP:
            self.snapshot(link)
        else:
            at = self.zxids[-1] if choice is PacketType.DIFF else before[-1]
            link.send(choice, at)
            for each in later:
                link.propose(each, 1, self.time_ms)
        await link.lead(self.epoch)
        await stay(link)


FIRST = [zxid(1, number) for number in range(1, 6)]


async def follow(ensemble: Ensemble) -> set[str]:
    """Let an observer with the txns FIRST follow an ensemble; return its paths at the end."""
    async with (
        Leader(first_history, ensemble) as leader,
        observer_of(MemoryDisk(), leader, other_history=MESSAGE) as server,
    ):
        failed = asyncio.create_task(server.failed())
        served = asyncio.create_task(until(lambda: is_at(server, ensemble.zxids[-1])))
        await asyncio.wait({failed, served}, return_when=asyncio.FIRST_COMPLETED)
        for task in (failed, served):
            task.cancel()
        if failed.done():
            assert paths(server) <= {path_of(each) for each in FIRST}
            failed.result()
        return paths(server)


def is_at(server: Server, wanted: int) -> bool:
    ensemble = server.ensemble
    return (
        ensemble is not None
        and ensemble.is_serving
        and ensemble.links > 1
        and server.machine.zxid == wanted
    )


def test_the_leader_sends_the_last_txn_again_and_the_history_continues() -> None:
    ensemble = Ensemble([*FIRST, zxid(2, 1), zxid(2, 2)])
    found = asyncio.run(follow(ensemble))
    assert found == {path_of(each) for each in ensemble.zxids}
    assert ensemble.asked == [zxid(1, 4)]
    assert ensemble.choices == [PacketType.DIFF]


def test_a_snapshot_proves_the_history_and_then_the_later_txns_are_sent() -> None:
    """The leader's memory begins with the last txn of the observer."""
    ensemble = Ensemble([*FIRST, zxid(2, 1)], memory=2)
    found = asyncio.run(follow(ensemble))
    assert found == {path_of(each) for each in ensemble.zxids}
    assert ensemble.asked == [zxid(1, 4), zxid(1, 5)]
    assert ensemble.choices == [PacketType.SNAP, PacketType.DIFF]


def test_a_leader_that_was_set_back_sends_a_snapshot() -> None:
    ensemble = Ensemble([*FIRST[:3], zxid(2, 1)])
    found = asyncio.run(follow(ensemble))
    assert found == {path_of(each) for each in ensemble.zxids}


def test_another_history_stops_the_server_with_the_message() -> None:
    for zxids in ([*FIRST, zxid(1, 6)], FIRST[:3], [zxid(2, 1)]):
        with pytest.raises(ServerError, match=MESSAGE):
            asyncio.run(follow(Ensemble(zxids, time_ms=2)))


@pytest.mark.parametrize("seed", range(2))
def test_random_ensembles(seed: int) -> None:
    """The observer has the txns of the leader, or its own ones; never some of both."""
    chance = random.Random(seed)
    for _ in range(3):
        kept = FIRST[: chance.randrange(6)]
        epoch = chance.choice((1, 2))
        first = len(kept) + 1 if epoch == 1 else 1
        zxids = kept + [zxid(epoch, first + each) for each in range(chance.randrange(1, 7))]
        is_other = chance.random() < 0.5
        ensemble = Ensemble(zxids, 2 if is_other else 1, chance.choice((1, 2, 3, 500)), epoch)
        if is_other or not kept:
            # Without a common txn, the leader was created again.
            ensemble.time_ms = 2
            with pytest.raises(ServerError, match=MESSAGE):
                asyncio.run(follow(ensemble))
        else:
            found = asyncio.run(follow(ensemble))
            assert found == {path_of(each) for each in zxids}
