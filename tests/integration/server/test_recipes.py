"""kazoo's recipes keep their promises on zoolet while connections drop and sessions expire."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import pytest
from kazoo.exceptions import KazooException
from kazoo.recipe.cache import TreeCache
from kazoo.recipe.lock import Lock
from kazoo.retry import KazooRetry

from tests.support.waiting import WAIT_S, wait_until
from zoolet.testing import EmbeddedServer, FaultError, OpCode


class Peer(NamedTuple):
    """A client, and the server that it is at the mercy of."""

    client: Any
    zookeeper: EmbeddedServer

    def cut(self) -> None:
        """Cut its connection, if it has one at the moment."""
        with contextlib.suppress(FaultError):
            self.zookeeper.faults.cut(self.client)

    def expire(self) -> None:
        """End its session."""
        self.zookeeper.faults.expire(self.client)

    @contextlib.contextmanager
    def cut_off(self) -> Iterator[None]:
        """Keep it from connecting for as long as this lasts."""
        with self.zookeeper.faults.partition(self.client):
            self.cut()
            yield


Connect = Callable[[], Peer]


@pytest.fixture
def connect(zookeeper: EmbeddedServer) -> Iterator[Connect]:
    """Starts clients."""
    with contextlib.ExitStack() as stack:

        def start() -> Peer:
            retry = KazooRetry(max_tries=-1, delay=0.02, max_delay=0.1)
            client = zookeeper.client(command_retry=retry)
            client.start()
            stack.callback(client.close)
            stack.callback(client.stop)
            return Peer(client, zookeeper)

        yield start


def in_threads(jobs: list[Callable[[], None]], faults: Callable[[], None]) -> None:
    """Run the jobs at once, with ``faults`` again and again until all are done."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        running = [pool.submit(job) for job in jobs]
        while not all(job.done() for job in running):
            faults()
        for job in running:
            job.result()


def cutting(peers: list[Peer]) -> Callable[[], None]:
    """Return what cuts one peer's connection after another, with time to recover."""
    turn = 0

    def cut_next() -> None:
        nonlocal turn
        time.sleep(0.01)  # the pace of the faults, not a wait for anything
        peers[turn % len(peers)].cut()
        turn += 1

    return cut_next


def test_a_lock_excludes_while_connections_drop(connect: Connect) -> None:
    peers = [connect() for _ in range(3)]
    peers[0].client.create("/counter", b"0")
    inside: list[int] = []

    def add(peer: Peer, number: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(8):
                with peer.client.Lock("/lock", f"peer {number}"):
                    inside.append(number)
                    value, _ = peer.client.retry(peer.client.get, "/counter")
                    peer.client.retry(peer.client.set, "/counter", b"%d" % (int(value) + 1))
                    assert inside == [number]
                    inside.clear()

        return run

    in_threads([add(peer, n) for n, peer in enumerate(peers)], cutting(peers))
    assert peers[0].client.retry(peers[0].client.get, "/counter")[0] == b"24"


def test_a_lock_goes_on_when_its_holders_session_expires(connect: Connect) -> None:
    holder, waiter = connect(), connect()
    assert holder.client.Lock("/lock", "holder").acquire(timeout=WAIT_S)
    taken = waiter.client.Lock("/lock", "waiter")
    assert not taken.acquire(blocking=False)
    holder.expire()
    assert taken.acquire(timeout=WAIT_S)
    assert taken.contenders() == ["waiter"]


def get_in_turn(contenders: dict[str, Lock]) -> None:
    """Check that threads get a lock in the order in which they began to wait for it."""
    first, *waiting = contenders
    had_it: list[str] = []

    def hold(name: str) -> None:
        lock = contenders[name]
        assert lock.acquire(timeout=WAIT_S)
        had_it.append(name)
        assert lock.contenders() == waiting[waiting.index(name) :]
        lock.release()

    lock = contenders[first]
    assert lock.acquire(timeout=WAIT_S)
    with ThreadPoolExecutor(len(waiting)) as threads:
        holding = []
        for count, name in enumerate(waiting, 2):
            holding.append(threads.submit(hold, name))
            wait_until(partial(has_contenders, lock, count), f"{name} in the line")
        lock.release()
        for held in holding:
            held.result(WAIT_S)
    assert had_it == waiting
    assert lock.contenders() == []


def has_contenders(lock: Lock, count: int) -> bool:
    return len(lock.contenders()) == count


def test_contenders_get_a_lock_in_turn(connect: Connect) -> None:
    client = connect().client
    names = ["first", *(f"contender {number}" for number in range(5))]
    get_in_turn({name: client.Lock("/lock", name) for name in names})


def test_a_reader_and_a_writer_get_a_lock_in_turn(connect: Connect) -> None:
    client = connect().client
    write, read = client.WriteLock, client.ReadLock
    kinds = {"first": write, "reader": read, "writer": write}
    get_in_turn({name: kind("/lock", name) for name, kind in kinds.items()})


def test_readers_share_and_writers_do_not(connect: Connect) -> None:
    first, second, writer = connect(), connect(), connect()
    readers = [peer.client.ReadLock("/rw") for peer in (first, second)]
    assert all(lock.acquire(timeout=WAIT_S) for lock in readers)
    writing = writer.client.WriteLock("/rw")
    assert not writing.acquire(blocking=False)
    for lock in readers:
        lock.release()
    assert writing.acquire(timeout=WAIT_S)
    assert not readers[0].acquire(blocking=False)
    writer.expire()
    assert readers[0].acquire(timeout=WAIT_S)


def test_a_semaphore_lets_so_many_in(connect: Connect) -> None:
    peers = [connect() for _ in range(4)]
    inside, most, guard = 0, 0, threading.Lock()

    def enter(peer: Peer) -> Callable[[], None]:
        def run() -> None:
            nonlocal inside, most
            for _ in range(4):
                with peer.client.Semaphore("/semaphore", max_leases=2):
                    with guard:
                        inside += 1
                        most = max(most, inside)
                    peer.client.retry(peer.client.exists, "/semaphore")
                    with guard:
                        inside -= 1

        return run

    in_threads([enter(peer) for peer in peers], cutting(peers))
    assert 1 <= most <= 2


def test_an_election_has_one_leader_and_then_the_next(connect: Connect) -> None:
    candidates, observer = [connect(), connect()], connect()
    leads = [threading.Event() for _ in candidates]
    may_end = threading.Event()
    threads = []
    for number, (peer, leading) in enumerate(zip(candidates, leads, strict=True)):
        election = peer.client.Election("/election", f"candidate {number}")

        def lead(leading: threading.Event = leading) -> None:
            leading.set()
            may_end.wait(WAIT_S)

        def run(election: Any = election, lead: Callable[[], None] = lead) -> None:
            # The first candidate stands again in its next session, until its client is closed.
            with contextlib.suppress(KazooException):
                election.run(lead)

        threads.append(threading.Thread(target=run, daemon=True))
    threads[0].start()
    assert leads[0].wait(WAIT_S)
    threads[1].start()
    contenders = observer.client.Election("/election").contenders
    wait_until(lambda: contenders() == ["candidate 0", "candidate 1"], "both candidates")
    assert not leads[1].is_set()
    candidates[0].expire()
    assert leads[1].wait(WAIT_S)
    may_end.set()
    for peer, thread in zip(candidates, threads, strict=True):
        peer.client.stop()
        thread.join(WAIT_S)


def test_a_barrier_holds_until_it_is_gone(connect: Connect) -> None:
    keeper, waiter = connect(), connect()
    barrier = keeper.client.Barrier("/barrier")
    barrier.create()
    waiting = waiter.client.Barrier("/barrier")

    def is_open() -> bool:
        # kazoo drops its watches when the connection does, so a wait must be begun again.
        return bool(waiter.client.retry(waiting.wait, 0.1))

    assert not is_open()
    waiter.cut()
    assert not is_open()
    barrier.remove()
    waiter.cut()
    wait_until(is_open, "the barrier's end")


def test_a_double_barrier_is_entered_and_left_by_all_at_once(connect: Connect) -> None:
    peers = [connect() for _ in range(3)]
    entered: list[int] = []
    seen: list[int] = []
    # In kazoo, the first one that leaves deletes the znode that a slower one has not looked at yet:
    # the slower one would wait for it for ever.
    all_inside = threading.Barrier(len(peers), timeout=WAIT_S)

    def work(peer: Peer, number: int) -> Callable[[], None]:
        def run() -> None:
            barrier = peer.client.DoubleBarrier("/double", len(peers), f"peer {number}")
            entered.append(number)
            barrier.enter()
            seen.append(len(entered))
            all_inside.wait()
            barrier.leave()

        return run

    in_threads([work(peer, n) for n, peer in enumerate(peers)], lambda: time.sleep(0.01))
    assert seen == [3, 3, 3]


def test_a_queue_loses_nothing(connect: Connect) -> None:
    producer, consumer = connect(), connect()
    queue = producer.client.Queue("/queue")
    put = [b"%03d" % number for number in range(40)]

    def produce() -> None:
        for item in put:
            producer.client.retry(queue.put, item)

    in_threads([produce], cutting([producer]))
    got = []
    taking = consumer.client.Queue("/queue")
    while (item := taking.get()) is not None:
        got.append(item)
    # A put whose reply was lost is put again: twice is possible, never is not.
    assert sorted(set(got)) == put


def test_a_locking_queue_gives_each_item_to_one_that_lives(connect: Connect) -> None:
    first, second = connect(), connect()
    items = [b"%d" % number for number in range(10)]
    queue, other = first.client.LockingQueue("/locking"), second.client.LockingQueue("/locking")
    other.put_all(items)
    held = queue.get(timeout=WAIT_S)
    first.expire()
    consumed: list[bytes] = []
    while len(consumed) < len(items):
        consumed.append(other.get(timeout=WAIT_S))
        assert other.consume()
    assert held in consumed
    assert sorted(consumed) == items
    assert len(other) == 0


def test_a_counter_counts_each_increment(connect: Connect) -> None:
    peers = [connect() for _ in range(3)]

    def count(peer: Peer) -> Callable[[], None]:
        def run() -> None:
            counter = peer.client.Counter("/counter")
            for _ in range(10):
                counter += 1

        return run

    in_threads([count(peer) for peer in peers], lambda: time.sleep(0.01))
    assert peers[0].client.Counter("/counter").value == 30


def test_an_increment_whose_reply_is_lost_is_not_lost(connect: Connect) -> None:
    peer = connect()
    counter = peer.client.Counter("/counter")
    counter += 1
    peer.zookeeper.faults.on(OpCode.SET_DATA, "/counter").drop_reply()
    counter += 1
    # kazoo cannot know that it was counted, and counts again.
    assert counter.value == 3


def test_a_party_ends_with_the_session(connect: Connect) -> None:
    guest, host = connect(), connect()
    host.client.Party("/party", "host").join()
    guest.client.Party("/party", "guest").join()
    party = host.client.Party("/party")
    assert sorted(party) == ["guest", "host"]
    guest.expire()
    wait_until(lambda: list(party) == ["host"], "the guest's leave")


def utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def test_a_lease_has_one_holder(connect: Connect) -> None:
    first, second = connect(), connect()
    # kazoo's own clock is a function that is deprecated since Python 3.12.
    lease = {"path": "/lease", "duration": timedelta(seconds=100), "utcnow": utc_now}
    assert first.client.NonBlockingLease(**lease, identifier="first")
    first.cut()
    assert not second.client.NonBlockingLease(**lease, identifier="second")
    # A call fails if the client has not connected again yet; kazoo's recipe does not repeat it.
    renew = partial(first.client.NonBlockingLease, **lease, identifier="first")
    assert first.client.retry(renew)


def test_a_partitioned_set_goes_to_those_who_are_left(connect: Connect) -> None:
    peers = [connect(), connect()]
    partitioners = [
        peer.client.SetPartitioner(
            "/set", set=("a", "b", "c", "d"), identifier=str(number), time_boundary=0.2
        )
        for number, peer in enumerate(peers)
    ]

    def advance(number: int) -> list[str]:
        partitioner = partitioners[number]
        if partitioner.release:
            partitioner.release_set()
        elif partitioner.allocating:
            partitioner.wait_for_acquire(0.1)
        return list(partitioner) if partitioner.acquired else []

    def is_shared() -> bool:
        shares = [advance(0), advance(1)]
        return sorted(shares[0] + shares[1]) == ["a", "b", "c", "d"] and all(shares)

    wait_until(is_shared, "the partition between two")
    peers[0].expire()
    wait_until(lambda: sorted(advance(1)) == ["a", "b", "c", "d"], "the partition of one")
    partitioners[1].finish()


def test_watches_see_what_happened_meanwhile(connect: Connect) -> None:
    watcher, writer = connect(), connect()
    writer.client.create("/watched", b"before")
    data: list[bytes | None] = []
    children: list[list[str]] = []
    watcher.client.DataWatch("/watched", lambda value, _stat: data.append(value))
    watcher.client.ChildrenWatch("/watched", lambda names: children.append(sorted(names)))
    cache = TreeCache(watcher.client, "/watched")
    cache.start()
    with watcher.cut_off():
        writer.client.set("/watched", b"after")
        writer.client.create("/watched/a", b"1")
    wait_until(lambda: data[-1] == b"after", "the change of the data")
    wait_until(lambda: children[-1] == ["a"], "the new child")
    wait_until(lambda: cache.get_children("/watched") == frozenset({"a"}), "the tree's new child")
    wait_until(lambda: cache.get_data("/watched").data == b"after", "the tree's change")
    cache.close()


def test_watches_are_set_again_in_a_new_session(connect: Connect) -> None:
    watcher, writer = connect(), connect()
    data: list[bytes | None] = []
    writer.client.create("/watched", b"1")
    watcher.client.DataWatch("/watched", lambda value, _stat: data.append(value))
    watcher.expire()
    writer.client.set("/watched", b"2")
    wait_until(lambda: data[-1] == b"2", "the change in the new session")
    writer.client.set("/watched", b"3")
    wait_until(lambda: data[-1] == b"3", "the change after it")
